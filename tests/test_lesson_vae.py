"""The lesson's VAE: its size, both losses in closed form, the script."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax.experiments import lesson_vae
from aejax.latents import DiagonalGaussian


def test_the_lessons_parameters():
    recipe = lesson_vae.Config().build((28, 28, 1))
    params = jax.eval_shape(recipe.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 807_700


def test_the_squared_error_is_a_gaussian_log_prob_but_for_its_constant():
    rng = np.random.default_rng(0)
    logits, x = rng.normal(size=(2, 3, 4, 4, 1)).astype(np.float32)
    normal = stats.norm(1 / (1 + np.exp(-logits)), np.sqrt(0.5))
    constant = 16 * stats.norm(0, np.sqrt(0.5)).logpdf(0)
    expected = normal.logpdf(x).sum(axis=(1, 2, 3)) - constant
    found = lesson_vae.negative_squared_error(jnp.asarray(logits), jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_the_slip_charges_is_keras_formula():
    mean = np.array([[0.5, -1.0], [0.0, 2.0]], np.float32)
    s = np.array([[-1.0, 0.3], [0.7, -2.0]], np.float32)

    def apply(variables, images, key):
        return jnp.zeros_like(images), DiagonalGaussian(jnp.asarray(mean), jnp.asarray(s))

    loss_fn = lesson_vae.slipped_vae(apply, lesson_vae.negative_squared_error)
    batch = {"image": jnp.zeros((2, 4, 4, 1))}
    _, (metrics, _) = loss_fn({}, {}, batch, jax.random.key(0), 0)
    expected = np.mean(-0.5 * np.sum(1 + s - mean**2 - np.exp(s), axis=-1))
    assert float(metrics["kl"]) == pytest.approx(expected, rel=1e-6)
    assert float(metrics["reconstruction"]) == pytest.approx(16 * 0.25)


@pytest.mark.parametrize("slip", [True, False])
def test_both_train(slip, tmp_path):
    import aejax

    run = aejax.run(lesson_vae.Config(slip=slip, epochs=2, workdir=str(tmp_path / "r")))
    assert run.metrics["loss"] < 60
    names = {path.stem for path in (tmp_path / "r" / "figures").iterdir()}
    assert names == {"curves", "latent", "manifold", "reconstructions", "square"}


def test_a_latent_of_nothing_is_one_line():
    with pytest.raises(ValueError, match="--latent-dim 0 is not positive"):
        lesson_vae.Config(latent_dim=0).build((28, 28, 1))
