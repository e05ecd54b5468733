"""Convolutional nets: shapes, parameter counts, what does not fit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.nets import ConvDecoder, ConvEncoder, conv_pair

SHAPES = [(28, 28, 1), (8, 12, 3), (4, 4, 1)]


def size(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_parameter_counts(shape):
    height, width, colours = shape
    first, second, latent = 5, 6, 2
    encoder, decoder = conv_pair(shape, (first, second))
    x, z = jnp.ones((3, *shape)), jnp.ones((3, latent))
    grid = height // 4 * (width // 4)
    variables = jax.eval_shape(encoder.init, jax.random.key(0), x)
    chex.assert_shape(jax.eval_shape(encoder.apply, variables, x), (3, grid * second))
    assert size(variables) == (9 * colours * first + first) + (9 * first * second + second)
    variables = jax.eval_shape(decoder.init, jax.random.key(0), z)
    chex.assert_shape(jax.eval_shape(decoder.apply, variables, z), (3, *shape))
    dense = latent * grid * second + grid * second
    up = (9 * second * second + second) + (9 * second * first + first)
    assert size(variables) == dense + up + (9 * first * colours + colours)


@pytest.mark.parametrize(("channels", "factor"), [((4,), 2), ((4, 5, 6), 8)])
def test_a_side_halves_with_each_convolution(channels, factor):
    shape = (2 * factor, 3 * factor, 1)
    encoder, decoder = conv_pair(shape, channels)
    x, z = jnp.ones((2, *shape)), jnp.ones((2, 3))
    variables = jax.eval_shape(encoder.init, jax.random.key(0), x)
    chex.assert_shape(jax.eval_shape(encoder.apply, variables, x), (2, 6 * channels[-1]))
    variables = jax.eval_shape(decoder.init, jax.random.key(0), z)
    chex.assert_shape(jax.eval_shape(decoder.apply, variables, z), (2, *shape))


@pytest.mark.parametrize("shape", [(28, 30, 1), (7, 8, 1), (2, 4, 3)])
def test_sides_that_do_not_fit_raise(shape):
    with pytest.raises(ValueError, match=rf"{shape[0]}x{shape[1]} .* multiples of 4"):
        conv_pair(shape, (4, 5))


@pytest.mark.parametrize("channels", [(), (0,), (4, -2)])
def test_channels_must_be_positive(channels):
    with pytest.raises(ValueError, match="channels .* must be one or more positive"):
        conv_pair((8, 8, 1), channels)


def test_jit_and_vmap_change_nothing():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
    net = ConvEncoder((4, 5))
    variables = jax.jit(net.init)(jax.random.key(0), x)
    expected = net.apply(variables, x)
    chex.assert_tree_all_finite(expected)
    chex.assert_trees_all_close(jax.jit(net.apply)(variables, x), expected, rtol=1e-4, atol=1e-6)
    rows = jax.vmap(lambda row: net.apply(variables, row[None])[0])(x)
    chex.assert_trees_all_close(rows, expected, rtol=1e-4, atol=1e-6)


def test_encoder_sees_a_pixel_only_within_its_receptive_field():
    """Two 3 x 3 convolutions of stride 2 see 7 x 7 pixels: a far corner changes nothing."""
    x = jnp.zeros((1, 16, 16, 1))
    net = ConvEncoder((4, 5))
    variables = jax.jit(net.init)(jax.random.key(0), x)
    moved = net.apply(variables, x.at[0, 15, 15, 0].set(1.0)) - net.apply(variables, x)
    moved = np.asarray(moved).reshape(4, 4, 5)
    assert np.any(moved[3, 3])
    assert not np.any(moved[:2, :2])


def test_outputs_are_unbounded():
    net = ConvDecoder((5, 4), (8, 8, 1))
    z = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
    outputs = jax.jit(net.init_with_output)(jax.random.key(0), z)[0]
    assert jnp.min(outputs) < 0 < jnp.max(outputs)


def test_a_decoder_alone_refuses_sides_that_do_not_fit():
    with pytest.raises(ValueError, match="must be multiples of 2"):
        ConvDecoder((8,), (7, 7, 1)).init(jax.random.key(0), jnp.zeros((1, 2)))
