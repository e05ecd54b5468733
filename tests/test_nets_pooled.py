"""The nets that pool and upsample: the published count and code, sides, what does not fit."""

import chex
import jax
import jax.numpy as jnp
import pytest

from aejax import models, nets


def size(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_keras_blogs_parameters_and_code():
    model = models.functions(models.Autoencoder(*nets.pooled_pair((28, 28, 1), dense=False)))
    x = jnp.zeros((2, 28, 28, 1))
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    assert size(params) == 4385
    chex.assert_shape(jax.eval_shape(model.encode, params, x), (2, 4 * 4 * 8))
    chex.assert_shape(jax.eval_shape(model.apply, {"params": params}, x), (2, 28, 28, 1))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 64, 3), (28, 32, 3), (16, 8, 1)])
def test_sides_come_back(shape):
    model = models.functions(models.Autoencoder(*nets.pooled_pair(shape, (6, 5, 4)), latent_dim=2))
    x = jnp.zeros((2, *shape))
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    chex.assert_shape(jax.eval_shape(model.apply, {"params": params}, x), (2, *shape))


def test_sides_that_cannot_come_back_raise():
    with pytest.raises(ValueError, match="29x28 do not come back from 3 poolings of 2: use sides"):
        nets.pooled_pair((29, 28, 1))
    with pytest.raises(ValueError, match="channels .* must be one or more positive"):
        nets.pooled_pair((28, 28, 1), ())
