"""kvfrans' VAE: its size and initial weights, what the figures show, the script."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from specs import image_spec

import aejax
from aejax.experiments import kvfrans_vae
from aejax.latents import DiagonalGaussian
from aejax.nets.kvfrans import strided_pair
from aejax.runs.config import check_config


def initial(config=None, shape=(28, 28, 1)):
    model = (config or kvfrans_vae.Config()).model(image_spec(shape))
    return model, jax.jit(model.init)(jax.random.key(0), {"x": jnp.zeros((1, *shape))})


def test_his_parameters_but_for_the_biases_that_he_never_adds():
    params = initial()[1]["params"]
    convolutions = (25 * 16 + 16) + (25 * 16 * 32 + 32)
    heads = 2 * (1568 * 20 + 20)
    upwards = (20 * 1568 + 1568) + 25 * 32 * 16 + 25 * 16
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == convolutions + heads + upwards


def test_kernels_begin_at_a_deviation_of_0_02():
    params = initial()[1]["params"]
    kernels = [
        leaf
        for net in ("encoder", "decoder")
        for path, leaf in jax.tree_util.tree_leaves_with_path(params[net])
        if "kernel" in str(path[-1])
    ]
    assert len(kernels) == 5
    for kernel in kernels:
        assert float(jnp.std(kernel)) == pytest.approx(0.02, rel=0.1)


def test_the_encoder_is_leaky():
    """Ones through kernels of -1 and 1, by hand: both convolutions give numbers below 0."""
    encoder, _ = strided_pair((4, 4, 1))
    kernels = {
        "Conv_0": jnp.zeros((5, 5, 1, 16)).at[..., 0].set(-1.0),
        "Conv_1": jnp.zeros((5, 5, 16, 32)).at[:, :, 0, 0].set(1.0),
    }
    params = {k: {"kernel": v, "bias": jnp.zeros(v.shape[-1])} for k, v in kernels.items()}
    features = encoder.apply({"params": params}, jnp.ones((1, 4, 4, 1)))
    first = -np.outer([4, 3], [4, 3])  # SAME pads 1 before and 2 after: 4, then 3 ones are seen
    assert features.shape == (1, 32)
    assert float(features[0, 0]) == pytest.approx(0.2 * np.sum(0.2 * first))


@pytest.mark.parametrize("shape", [(32, 64, 3), (28, 28, 1), (8, 4, 1)])
def test_sides_come_back(shape):
    model, variables = initial(kvfrans_vae.Config(latent_dim=3), shape)
    x = jnp.zeros((2, *shape))
    assert model.posterior(variables, {"x": x}).mean.shape == (2, 3)
    assert model.decode(variables, jnp.zeros((2, 3))).shape == (2, *shape)


def test_information_is_the_kl_of_each_dimension():
    mean = np.array([[0.5, -1.0], [0.0, 2.0], [0.3, 0.1]], np.float32)
    sigma = np.array([[0.2, 0.9], [1.5, 0.4], [1.0, 0.5]], np.float32)
    figure = kvfrans_vae.information(DiagonalGaussian(jnp.asarray(mean), jnp.log(sigma)))
    points = np.asarray(figure.axes[0].collections[0].get_offsets())

    def kl(m, s):
        q, p = stats.norm(m, s), stats.norm()
        limits = m - 12 * s, m + 12 * s
        return integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), *limits)[0]

    np.testing.assert_allclose(points[:, 0], stats.gmean(sigma, axis=0), rtol=1e-5)
    np.testing.assert_allclose(points[:, 1], np.vectorize(kl)(mean, sigma).mean(axis=0), rtol=1e-5)


@pytest.mark.slow
def test_it_trains_and_leaves_a_picture_an_epoch(tmp_path, few_images):
    workdir = tmp_path / "r"
    run = aejax.run(kvfrans_vae.Config(epochs=2, devices=1, workdir=str(workdir)))
    losses = [record["loss"] for record in run.history if record["split"] == "test"]
    assert losses[1] < losses[0]
    assert run.metrics["elbo"] == pytest.approx(
        -run.metrics["reconstruction"] - run.metrics["kl"], rel=1e-4
    )
    names = {path.stem for path in (workdir / "figures").glob("*.png")}
    assert names == {"curves", "information", "reconstructions", "samples"}
    epochs = {path.name for path in (workdir / "figures" / "epochs").iterdir()}
    assert epochs == {"reconstructions_001.png", "reconstructions_002.png"}
    assert run.sample(jax.random.key(0), 3).shape == (3, 28, 28, 1)


def test_what_does_not_fit_is_one_line():
    with pytest.raises(ValueError, match="--latent-dim 0 is not positive"):
        check_config(kvfrans_vae.Config(latent_dim=0))
    with pytest.raises(ValueError, match="images of 30x28 do not fit .* multiples of 4"):
        kvfrans_vae.Config().model(image_spec((30, 28, 1)))
