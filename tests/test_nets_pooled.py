"""The nets that pool and upsample: the published count and code, sides, what does not fit."""

import chex
import jax
import jax.numpy as jnp
import pytest

from aejax import models, nets
from aejax.likelihoods import bernoulli


def size(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_keras_blogs_parameters_and_code():
    model = models.autoencoder(*nets.pooled_pair((28, 28, 1), dense=False), bernoulli())
    batch = {"x": jnp.zeros((2, 28, 28, 1))}
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)
    assert size(variables) == 4385
    code = jax.eval_shape(model.posterior, variables, batch).mean
    chex.assert_shape(code, (2, 4 * 4 * 8))
    chex.assert_shape(jax.eval_shape(model.decode, variables, code), (2, 28, 28, 1))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 64, 3), (28, 32, 3), (16, 8, 1)])
def test_sides_come_back(shape):
    model = models.autoencoder(*nets.pooled_pair(shape, (6, 5, 4)), bernoulli(), latent_dim=2)
    variables = jax.eval_shape(model.init, jax.random.key(0), {"x": jnp.zeros((2, *shape))})
    restored = jax.eval_shape(model.decode, variables, jnp.zeros((2, 2)))
    chex.assert_shape(restored, (2, *shape))


def test_sides_that_cannot_come_back_raise():
    with pytest.raises(ValueError, match="29x28 do not come back from 3 poolings of 2: use sides"):
        nets.pooled_pair((29, 28, 1))
    with pytest.raises(ValueError, match="channels .* must be one or more positive"):
        nets.pooled_pair((28, 28, 1), ())
