"""Pooling against flax's own, outputs and gradients; upsampling against jax.image."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.test_util import check_grads

from aejax.nets.pooling import avg_pool, max_pool, upsample

SHAPES = [((2, 8, 6, 3), (2, 2)), ((2, 7, 9, 3), (2, 2)), ((3, 7, 2), (3,)), ((1, 9, 9, 1), (3, 2))]


def output_and_gradient(function, x):
    out, pull = jax.vjp(function, x)
    return out, pull(jax.random.normal(jax.random.key(1), out.shape))[0]


@pytest.mark.parametrize("padding", ["SAME", "VALID", "explicit"])
@pytest.mark.parametrize(("shape", "window"), SHAPES)
@pytest.mark.parametrize(("ours", "theirs"), [(max_pool, nn.max_pool), (avg_pool, nn.avg_pool)])
def test_pooling_is_flaxs(ours, theirs, shape, window, padding):
    padding = [(1, 0)] * len(window) if padding == "explicit" else padding
    x = jax.random.normal(jax.random.key(0), shape)
    for strides in (window, (1,) * len(window), None):
        chex.assert_trees_all_close(
            output_and_gradient(lambda x, s=strides: ours(x, window, s, padding), x),
            output_and_gradient(lambda x, s=strides: theirs(x, window, s, padding), x),
            atol=1e-6,
        )


def test_of_equal_values_the_first_has_the_gradient():
    x = jnp.zeros((1, 4, 4, 1))
    ours = output_and_gradient(lambda x: max_pool(x, (2, 2), (2, 2)), x)
    chex.assert_trees_all_close(
        ours, output_and_gradient(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    )


def test_mean_without_the_padding_is_flaxs():
    x = jax.random.normal(jax.random.key(0), (2, 7, 7, 1))
    chex.assert_trees_all_close(
        avg_pool(x, (2, 2), (2, 2), "SAME", count_include_pad=False),
        nn.avg_pool(x, (2, 2), (2, 2), "SAME", count_include_pad=False),
    )


@pytest.mark.parametrize(
    ("shape", "factors"), [((2, 3, 4, 5), (2, 2)), ((2, 3, 5), (3,)), ((1, 2, 3, 1), (1, 4))]
)
def test_upsampling_is_the_nearest(shape, factors):
    x = jax.random.normal(jax.random.key(0), shape)
    sides = [n * f for n, f in zip(shape[1:-1], factors, strict=True)]
    expected = jax.image.resize(x, (shape[0], *sides, shape[-1]), "nearest")
    chex.assert_trees_all_close(upsample(x, factors), expected)
    check_grads(lambda x: upsample(x, factors), (x,), 1, modes=["rev"])
