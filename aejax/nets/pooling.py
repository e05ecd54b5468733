"""Pooling and upsampling, channels last, by reshaping where windows do not overlap."""

import itertools
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from aejax.nets.windows import pad

Padding = str | Sequence[tuple[int, int]]


def max_pool(
    inputs: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> jax.Array:
    """`flax.linen.max_pool` of `[B, ..., C]`: the greatest of each window.

    Windows side by side are compared slice by slice: the gradient of XLA's own form on CPU is
    many times slower. As there, the first of equal values receives the gradient.
    """
    window = tuple(window_shape)
    if not _side_by_side(inputs, window, strides):
        return nn.max_pool(inputs, window, strides, padding)
    return _first_greatest(_parts(_blocks(inputs, window, padding, -jnp.inf), len(window)))


def avg_pool(
    inputs: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """`flax.linen.avg_pool` of `[B, ..., C]`: the mean of each window."""
    window = tuple(window_shape)
    if not (count_include_pad and _side_by_side(inputs, window, strides)):
        return nn.avg_pool(inputs, window, strides, padding, count_include_pad)
    parts = _parts(_blocks(inputs, window, padding, 0.0), len(window))
    return sum(parts[1:], parts[0]) / len(parts)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def upsample(inputs: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """Each value of `[B, ..., C]` repeated `factors` times along each spatial axis (nearest)."""
    expanded = jnp.expand_dims(inputs, tuple(range(2, 2 * len(factors) + 1, 2)))
    sides = inputs.shape[1:-1]
    apart = [n for pair in zip(sides, factors, strict=True) for n in pair]
    repeated = jnp.broadcast_to(expanded, (inputs.shape[0], *apart, inputs.shape[-1]))
    together = [n * factor for n, factor in zip(sides, factors, strict=True)]
    return repeated.reshape(inputs.shape[0], *together, inputs.shape[-1])


def _upsample_forward(inputs: jax.Array, factors: tuple[int, ...]) -> tuple[jax.Array, None]:
    return upsample(inputs, factors), None


def _upsample_backward(
    factors: tuple[int, ...], residuals: None, gradient: jax.Array
) -> tuple[jax.Array]:
    # The sum of slices: a reduction over the repeated axes is several times slower on CPU.
    parts = _parts(_blocks(gradient, factors, "VALID", 0.0), len(factors))
    return (sum(parts[1:], parts[0]),)


upsample.defvjp(_upsample_forward, _upsample_backward)


def _side_by_side(x: jax.Array, window: tuple[int, ...], strides: Sequence[int] | None) -> bool:
    return strides is not None and tuple(strides) == window and x.ndim == len(window) + 2


def _blocks(x: jax.Array, window: tuple[int, ...], padding: Padding, value: float) -> jax.Array:
    """`[B, H, W, C]` as windows `[B, H / h, h, W / w, w, C]`, padded with `value`."""
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:-1], window, window, padding)
    counts = [
        (n + lo + hi) // k for n, (lo, hi), k in zip(x.shape[1:-1], padding, window, strict=True)
    ]
    pads = [
        (lo, count * k - n - lo)  # what does not fill a window is cut
        for n, (lo, _), count, k in zip(x.shape[1:-1], padding, counts, window, strict=True)
    ]
    apart = [n for pair in zip(counts, window, strict=True) for n in pair]
    return pad(x, pads, value).reshape(x.shape[0], *apart, x.shape[-1])


@jax.custom_vjp
def _first_greatest(parts: tuple[jax.Array, ...]) -> jax.Array:
    greatest = parts[0]
    for part in parts[1:]:
        greatest = jnp.maximum(greatest, part)
    return greatest


def _forward(parts: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple]:
    greatest = _first_greatest(parts)
    return greatest, (parts, greatest)


def _backward(residuals: tuple, gradient: jax.Array) -> tuple[tuple[jax.Array, ...]]:
    parts, greatest = residuals
    left = jnp.ones(greatest.shape, bool)
    gradients = []
    for part in parts:
        hit = left & (part == greatest)
        gradients.append(jnp.where(hit, gradient, 0))
        left = left & ~hit
    return (tuple(gradients),)


_first_greatest.defvjp(_forward, _backward)


def _parts(blocks: jax.Array, rank: int) -> tuple[jax.Array, ...]:
    """The values at each place of a window, `[B, H / h, W / w, C]` each."""
    parts = []
    for at in itertools.product(*(range(n) for n in blocks.shape[2 : 2 * rank + 1 : 2])):
        index = [part for i in at for part in (slice(None), i)]
        parts.append(blocks[(slice(None), *index)])
    return tuple(parts)
