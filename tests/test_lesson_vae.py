"""The lesson's VAE: its size, both losses in closed form, the script."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from specs import image_spec, shapes_of

from aejax.experiments import lesson_vae
from aejax.latents import DiagonalGaussian
from aejax.objectives.objective import batch_mean, named
from aejax.runs.config import check_config

# The autoencoder's 4,385, two heads of 2 on the code of 128, and a Dense layer back to it.
CONV = 4385 + 2 * (128 * 2 + 2) + (2 * 128 + 128)


@pytest.mark.parametrize(("net", "count"), [("dense", 807_700), ("conv", CONV)])
def test_the_lessons_parameters(net, count):
    params = shapes_of(lesson_vae.Config(net=net).model(image_spec()))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_the_squared_error_is_a_gaussian_log_prob_but_for_its_constant():
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(2, 3, 4, 4, 1)).astype(np.float32)
    normal = stats.norm(1 / (1 + np.exp(-logits)), np.sqrt(0.5))
    constant = 16 * stats.norm(0, np.sqrt(0.5)).logpdf(0)
    expected = normal.logpdf(x).sum(axis=(1, 2, 3)) - constant
    bound = SimpleNamespace(decode=lambda z: jax.nn.sigmoid(z))
    found = lesson_vae.squared_error(bound, {"x": jnp.asarray(x)}, jnp.asarray(logits))
    np.testing.assert_allclose(-found, expected, rtol=1e-5)
    density = lesson_vae.p_x().log_prob(jnp.asarray(logits), jnp.asarray(x))
    np.testing.assert_allclose(density, normal.logpdf(x).sum(axis=(1, 2, 3)), rtol=1e-5)


def test_what_the_slip_charges_is_keras_formula():
    mean = np.array([[0.5, -1.0], [0.0, 2.0]], np.float32)
    s = np.array([[-1.0, 0.3], [0.7, -2.0]], np.float32)

    class Fixed:
        def posterior(self, batch):
            return DiagonalGaussian(jnp.asarray(mean), jnp.asarray(s))

        def decode(self, z):
            return jnp.full((2, 4, 4, 1), 0.5)

    batch = {"x": jnp.zeros((2, 4, 4, 1))}
    terms = lesson_vae.SlippedElbo().terms(Fixed(), batch, jax.random.key(0), 0)
    metrics = named({name: batch_mean(values) for name, values in terms.items()})
    expected = np.mean(-0.5 * np.sum(1 + s - mean**2 - np.exp(s), axis=-1))
    assert float(metrics["charge"]) == pytest.approx(expected, rel=1e-6)
    assert float(metrics["reconstruction"]) == pytest.approx(16 * 0.25)
    assert float(metrics["loss"]) == pytest.approx(expected + 16 * 0.25)


@pytest.mark.slow
@pytest.mark.parametrize(("slip", "net"), [(True, "dense"), (False, "dense"), (True, "conv")])
def test_they_train(slip, net, tmp_path, few_images):
    import aejax

    config = lesson_vae.Config(slip=slip, net=net, epochs=2, devices=1, workdir=str(tmp_path / "r"))
    run = aejax.run(config)
    losses = [record["loss"] for record in run.history if record["split"] == "test"]
    assert losses[1] < losses[0]
    names = {path.stem for path in (tmp_path / "r" / "figures").iterdir()}
    assert names == {"curves", "latent", "manifold", "reconstructions", "square"}


def test_a_larger_latent_and_colour_fit_the_convolutions():
    model = lesson_vae.Config(net="conv", latent_dim=8).model(image_spec((32, 32, 3)))
    batch = {"x": jnp.zeros((2, 32, 32, 3))}
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)
    assert jax.eval_shape(model.posterior, variables, batch).mean.shape == (2, 8)
    assert jax.eval_shape(model.decode, variables, jnp.zeros((2, 8))).shape == (2, 32, 32, 3)


def test_a_latent_of_nothing_is_one_line():
    with pytest.raises(ValueError, match="--latent-dim 0 is not positive"):
        check_config(lesson_vae.Config(latent_dim=0))
