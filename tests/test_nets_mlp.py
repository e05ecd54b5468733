"""Dense nets: shapes, arithmetic, parameter counts."""

from itertools import pairwise

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.nets import MLPDecoder, MLPEncoder, mlp_pair
from aejax.nets.layers import num_elements

SHAPES = [(28, 28, 1), (8, 6, 3), (7, 5, 1), (1, 1, 1)]


def init(net, *inputs):
    return jax.jit(net.init)(jax.random.key(0), *inputs)["params"]


def size(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_shapes_and_parameter_counts(shape, hidden):
    encoder, decoder = mlp_pair(shape, hidden)
    x, z = jnp.ones((3, *shape)), jnp.ones((3, 2))
    pixels = shape[0] * shape[1] * shape[2]
    assert num_elements(shape) == pixels
    variables = jax.eval_shape(encoder.init, jax.random.key(0), x)
    features = jax.eval_shape(encoder.apply, variables, x)
    chex.assert_shape(features, (3, hidden[-1] if hidden else pixels))
    widths = [pixels, *hidden]
    count = sum(a * b + b for a, b in pairwise(widths))
    assert size(variables) == count
    variables = jax.eval_shape(decoder.init, jax.random.key(0), z)
    chex.assert_shape(jax.eval_shape(decoder.apply, variables, z), (3, *shape))
    widths = [2, *reversed(hidden), pixels]
    assert size(variables) == sum(a * b + b for a, b in pairwise(widths))


def test_encoder_by_hand():
    x = np.random.default_rng(0).normal(size=(4, 3, 2, 1)).astype(np.float32)
    net = MLPEncoder((5, 4))
    params = init(net, x)
    h = x.reshape(4, 6)
    for layer in ("Dense_0", "Dense_1"):
        h = np.maximum(h @ np.asarray(params[layer]["kernel"]) + params[layer]["bias"][None], 0)
    np.testing.assert_allclose(net.apply({"params": params}, x), h, rtol=1e-5, atol=1e-6)


def test_decoder_by_hand_is_linear_at_its_end():
    z = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    net = MLPDecoder((5,), (3, 2, 1))
    params = init(net, z)
    h = np.maximum(z @ np.asarray(params["Dense_0"]["kernel"]), 0)
    expected = (h @ np.asarray(params["Dense_1"]["kernel"])).reshape(4, 3, 2, 1)
    outputs = net.apply({"params": params}, z)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    assert jnp.any(outputs < 0)  # no activation bounds the outputs


def test_jit_and_vmap_change_nothing():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 2, 1)), jnp.float32)
    net = MLPEncoder((5, 4))
    params = init(net, x)
    expected = net.apply({"params": params}, x)
    chex.assert_tree_all_finite(expected)
    chex.assert_trees_all_close(jax.jit(net.apply)({"params": params}, x), expected, rtol=1e-5)
    rows = jax.vmap(lambda row: net.apply({"params": params}, row[None])[0])(x)
    chex.assert_trees_all_close(rows, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hidden", [(0,), (5, -1)])
def test_widths_must_be_positive(hidden):
    with pytest.raises(ValueError, match="hidden .* not positive"):
        mlp_pair((4, 4, 1), hidden)
