"""Convolutions for CPUs, fast in loops as well.

XLA's CPU compiler puts a convolution into its one fast layout only outside loops. What automatic
differentiation makes of one is in another layout, and 3 to 6 times slower in a loop. So here:

- A convolution and its input's gradient are XLA's own, written in that layout. A barrier around the
  turned kernel keeps XLA from folding the turn into the layout.
- The kernel's gradient is a product for every tap. XLA's convolution takes up to 16 times as long,
  one product with an array of all windows 1.1 to 1.8 times; but where strides are at work, that
  one is the faster.
- With fewer than four channels in or out, XLA's is slower than one product with an array of
  windows of the input or, where fewer come out, one product whose slices are shifted and summed:
  up to 4 times at one channel. A transposed one from 16 channels to one is 7 times faster in XLA's.
"""

import jax
import jax.numpy as jnp
from jax import lax

from aejax.nets.forms import Form, turned, xla_convolution
from aejax.nets.windows import (
    FEW,
    Grid,
    few_channels,
    multiplied,
    narrows,
    spread,
    tap_slices,
    windows,
)


def _convolve(
    x: jax.Array, kernel: jax.Array, grid: Grid, precision: lax.PrecisionLike
) -> jax.Array:
    if few_channels(kernel) and not spread(grid.inner):
        return multiplied(x, kernel, grid, precision)
    return _fast(x, kernel, grid, precision)


def _fast(x: jax.Array, kernel: jax.Array, grid: Grid, precision: lax.PrecisionLike) -> jax.Array:
    """XLA's convolution in its fast layout.

    Of an image smaller than the kernel it would swap the two and leave that layout (or, of a
    stride as wide as the kernel, abort): there, the padding comes first.
    """
    if any(size > n for size, n in zip(grid.sizes, grid.inputs, strict=True)):
        pads = [(lo, hi, s - 1) for (lo, hi), s in zip(grid.padding(), grid.inner, strict=True)]
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
        x = lax.optimization_barrier(x)
        ones = (1,) * len(pads)
        grid = grid._replace(inputs=x.shape[1:-1], inner=ones, low=(0,) * len(pads))
    return xla_convolution(x, kernel, grid, precision=precision)


def _kernel_gradient(
    x: jax.Array, dy: jax.Array, grid: Grid, precision: lax.PrecisionLike
) -> jax.Array:
    """`[..., C, O]`: the products of what every tap sees with dy, or of dy's taps with x."""
    channels, features = x.shape[-1], dy.shape[-1]
    few = min(channels, features) < FEW
    if spread(grid.inner) or (few and narrows(channels, features, grid)):
        return turned(_kernel_gradient(dy, x, grid.turned(), precision))
    if few or spread(grid.strides):
        products = _contract(windows(x, grid), dy, precision)
    else:
        products = jnp.stack([_contract(seen, dy, precision) for seen in tap_slices(x, grid)])
    return products.reshape(*grid.sizes, channels, features)


def _contract(seen: jax.Array, dy: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """seen^T dy over all sites, `[C, O]`."""
    seen, dy = (each.reshape(-1, each.shape[-1]) for each in (seen, dy))
    over_sites = (((0,), (0,)), ((), ()))
    if seen.shape[-1] <= dy.shape[-1]:
        return lax.dot_general(seen, dy, over_sites, precision)
    # The narrower first is faster. Without the barrier, XLA would turn the transpose of a product
    # into the slower product.
    return lax.optimization_barrier(lax.dot_general(dy, seen, over_sites, precision)).T


CPU = Form(_convolve, _kernel_gradient)
