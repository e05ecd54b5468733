"""Every likelihood that the flags offer, with the nets that go with it."""

import typing

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import models, objectives
from aejax.runs.architecture import ArchitectureConfig

LIKELIHOODS = typing.get_args(typing.get_type_hints(ArchitectureConfig)["likelihood"])


def config(**fields):
    small = {"hidden": (6,), "channels": (4,), "latent_dim": 2}
    return ArchitectureConfig(**(small | fields))


# A number a pixel, and several: the other likelihoods' outputs are shaped as one of these.
CONVOLVED = ("bernoulli", "logistic_mixture")


@pytest.mark.parametrize(
    ("net", "channels", "likelihood"),
    [
        *(("mlp", 1, name) for name in LIKELIHOODS if name not in CONVOLVED),
        *(("conv", 3, name) for name in CONVOLVED),
        *(pytest.param("mlp", 1, name, marks=pytest.mark.slow) for name in CONVOLVED),
        *(
            pytest.param("conv", 3, name, marks=pytest.mark.slow)
            for name in LIKELIHOODS
            if name not in CONVOLVED
        ),
    ],
)
def test_the_decoder_emits_what_the_likelihood_takes(net, channels, likelihood):
    flags = config(net=net, likelihood=likelihood)
    shape = (4, 6, channels)
    spec, p_x = {"x": jax.ShapeDtypeStruct(shape, jnp.float32)}, flags.p_x()
    model = models.vae(*flags.nets(spec), 2, p_x)
    image = (np.arange(5 * 24 * channels, dtype=np.float32) % 256 / 255).reshape(5, *shape)
    params = jax.jit(model.init)(jax.random.key(0), {"x": image})["params"]
    loss_fn = objectives.make_loss(model, objectives.Elbo())

    def step(params, image):
        gradient, (metrics, _) = jax.grad(loss_fn, has_aux=True)(
            params, {}, {"x": image}, jax.random.key(1), jnp.zeros(())
        )
        return gradient, metrics, model.decode({"params": params}, jnp.zeros((5, 2)))

    gradient, metrics, mean = jax.jit(step)(params, image)
    chex.assert_tree_all_finite((gradient, metrics, mean))
    chex.assert_shape(mean, image.shape)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient["decoder"]))


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_sigma_is_the_scale(likelihood):
    mean = jnp.zeros((2000, 8))
    x = config(likelihood=likelihood, sigma=0.02).p_x().sample(jax.random.key(0), mean)
    np.testing.assert_allclose(jnp.std(x), 0.02, rtol=0.03)
    spec = {"x": jax.ShapeDtypeStruct((4, 4, 1), jnp.float32)}
    with pytest.raises(ValueError, match="sigma -1 is not positive"):
        config(likelihood=likelihood, sigma=-1).nets(spec)


def test_a_logistic_mixture_of_other_channels_is_refused():
    spec = {"x": jax.ShapeDtypeStruct((4, 4, 2), jnp.float32)}
    with pytest.raises(ValueError, match="1 or 3 channels, not 2: take the categorical"):
        config(likelihood="logistic_mixture").nets(spec)
