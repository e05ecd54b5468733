"""Convolutions for CPUs, fast in loops as well, with both modes of differentiation.

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

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from aejax.nets.windows import Grid, tap_slices, windows

FEW = 4  # channels, below which XLA's convolution is slow


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def cpu_convolution(x: jax.Array, kernel: jax.Array, grid: Grid) -> jax.Array:
    """The convolution of x `[B, ..., C]` with `[..., C, O]` on a grid, `[B, *grid.outputs, O]`.

    `strides` or `inner` of the grid must be ones. Reverse mode is what is made fast: in forward
    mode, the tangents are convolutions in XLA's slow layouts.
    """
    return _convolve(x, kernel, grid)


@partial(cpu_convolution.defjvp, symbolic_zeros=True)
def _jvp(grid: Grid, primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    """The tangent is written as the transpose of the gradients, which it becomes in reverse mode.

    `jax.checkpoint` makes reverse mode keep x and the kernel, not their slices.
    """
    y = cpu_convolution(*primals, grid)

    def of_x(x: jax.Array, kernel: jax.Array) -> Callable[[jax.Array], jax.Array]:
        return lambda dy: _convolve(dy, _turn(kernel), grid.turned())

    def of_kernel(x: jax.Array, kernel: jax.Array) -> Callable[[jax.Array], jax.Array]:
        return lambda dy: _kernel_gradient(x, dy, grid)

    moved = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, SymbolicZero)]

    @jax.checkpoint
    def tangent(primals: tuple[Any, Any], tangents: list[Any]) -> jax.Array:
        gradients = [(of_x, of_kernel)[i](*primals) for i in moved]
        terms = [
            jax.linear_transpose(gradient, y)(tangent)[0]
            for gradient, tangent in zip(gradients, tangents, strict=True)
        ]
        return sum(terms[1:], terms[0])

    return y, tangent(primals, [tangents[i] for i in moved])


def _convolve(x: jax.Array, kernel: jax.Array, grid: Grid) -> jax.Array:
    if min(kernel.shape[-2:]) >= FEW or _spread(grid.inner):
        return _fast(x, kernel, grid)
    if _narrows(x.shape[-1], kernel.shape[-1], grid):
        return _product_first(x, kernel, grid)
    return windows(x, grid) @ kernel.reshape(-1, kernel.shape[-1])


def _fast(x: jax.Array, kernel: jax.Array, grid: Grid) -> jax.Array:
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
    return xla_convolution(x, kernel, grid)


def xla_convolution(x: jax.Array, kernel: jax.Array, grid: Grid, **options: Any) -> jax.Array:
    """XLA's convolution, channels last."""
    spatial = "DHW"[3 - len(grid.sizes) :]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    pads = grid.padding()
    return lax.conv_general_dilated(
        x, kernel, grid.strides, pads, grid.inner, grid.spacing, layout, **options
    )


def _product_first(x: jax.Array, kernel: jax.Array, grid: Grid) -> jax.Array:
    """Every tap's product with every input, then the sum of its shifted slices."""
    features = kernel.shape[-1]
    taps = kernel.reshape(-1, *kernel.shape[-2:])
    products = x @ jnp.moveaxis(taps, 0, 1).reshape(x.shape[-1], -1)
    terms = [
        seen[..., tap * features : (tap + 1) * features]
        for tap, seen in enumerate(tap_slices(products, grid))
    ]
    return sum(terms[1:], terms[0])


def _kernel_gradient(x: jax.Array, dy: jax.Array, grid: Grid) -> jax.Array:
    """`[..., C, O]`: the products of what every tap sees with dy, or of dy's taps with x."""
    channels, features = x.shape[-1], dy.shape[-1]
    few = min(channels, features) < FEW
    if _spread(grid.inner) or (few and _narrows(channels, features, grid)):
        return _turned(_kernel_gradient(dy, x, grid.turned()))
    if few or _spread(grid.strides):
        return _contract(windows(x, grid), dy).reshape(*grid.sizes, channels, features)
    products = jnp.stack([_contract(seen, dy) for seen in tap_slices(x, grid)])
    return products.reshape(*grid.sizes, channels, features)


def _contract(seen: jax.Array, dy: jax.Array) -> jax.Array:
    """seen^T dy over all sites, `[C, O]`."""
    seen, dy = (each.reshape(-1, each.shape[-1]) for each in (seen, dy))
    over_sites = (((0,), (0,)), ((), ()))
    if seen.shape[-1] <= dy.shape[-1]:
        return lax.dot_general(seen, dy, over_sites)
    # The narrower first is faster. Without the barrier, XLA would turn the transpose of a product
    # into the slower product.
    return lax.optimization_barrier(lax.dot_general(dy, seen, over_sites)).T


def _narrows(channels: int, features: int, grid: Grid) -> bool:
    """Whether windows of the output are smaller than windows of the input."""
    return features < channels and not _spread(grid.strides)


def _spread(factors: tuple[int, ...]) -> bool:
    return any(factor > 1 for factor in factors)


def _turn(kernel: jax.Array) -> jax.Array:
    """The kernel reversed in space, `[..., O, C]`, made: XLA does not fold it into a product."""
    return lax.optimization_barrier(_turned(kernel))


def _turned(kernel: jax.Array) -> jax.Array:
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)
