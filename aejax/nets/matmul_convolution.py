"""A convolution as matrix products, with its gradients."""

from functools import partial

import jax
import jax.numpy as jnp

from aejax.nets.products import Pads, dilated, narrows, strided
from aejax.nets.windows import Grid, Ints, windows


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def matmul_convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Ints,
    padding: Pads,
    lhs_dilation: Ints,
    dilation: Ints,
) -> jax.Array:
    """`lax.conv_general_dilated` of x `[B, ..., C]` and kernel `[..., C, O]` as matrix products.

    Only one of `strides`, `lhs_dilation` and `dilation` may be other than ones.
    """
    if all(factor == 1 for factor in lhs_dilation):
        return strided(x, kernel, strides, padding, dilation)
    return dilated(x, kernel, padding, lhs_dilation)


def _forward(
    x: jax.Array,
    kernel: jax.Array,
    strides: Ints,
    padding: Pads,
    lhs_dilation: Ints,
    dilation: Ints,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = matmul_convolution(x, kernel, strides, padding, lhs_dilation, dilation)
    return y, (x, kernel)


def _backward(
    strides: Ints,
    padding: Pads,
    lhs_dilation: Ints,
    dilation: Ints,
    inputs: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = inputs
    sizes = kernel.shape[:-2]
    ones = (1,) * len(sizes)
    turned = _turn(kernel)
    reach = [(k - 1) * d for k, d in zip(sizes, dilation, strict=True)]
    low = [r - p for r, (p, _) in zip(reach, padding, strict=True)]
    if lhs_dilation == ones and not narrows(kernel, strides):
        # x's gradient is dy, dilated by the strides, convolved with the turned kernel.
        spread = [(n - 1) * s + 1 for n, s in zip(dy.shape[1:-1], strides, strict=True)]
        high = [
            n + r - lo - m for n, r, lo, m in zip(x.shape[1:-1], reach, low, spread, strict=True)
        ]
        pads = tuple(zip(low, high, strict=True))
        dx = matmul_convolution(dy, turned, ones, pads, strides, dilation)
        start = tuple(lo for lo, _ in padding)
        seen = _windows_in_halves(x, Grid(sizes, dy.shape[1:-1], strides, dilation, start))
        return dx, _contract(seen, dy, kernel.shape)
    # Both gradients of a transposed or narrowing convolution are products with windows of dy.
    grid = Grid(sizes, x.shape[1:-1], lhs_dilation, dilation, tuple(low))
    seen = _windows_in_halves(dy, grid)
    dx = _multiply(seen, turned).reshape(x.shape)
    return dx, _turn(_contract(seen, x, turned.shape))


matmul_convolution.defvjp(_forward, _backward)


def _halves(x: jax.Array) -> jax.Array:
    """`[B, ...]` -> `[2, B / 2, ...]`, or `[1, B, ...]`.

    Two cores share the gradient's two products better than one sum over all rows. Not where the
    batch is odd, and not on several devices, which share it already: three could not share halves.
    """
    parts = 2 if x.shape[0] % 2 == 0 and jax.device_count() == 1 else 1
    return x.reshape(parts, x.shape[0] // parts, *x.shape[1:])


def _windows_in_halves(x: jax.Array, grid: Grid) -> jax.Array:
    """`windows` of each part of the batch, `[parts, rows, taps * C]`."""
    return jax.vmap(lambda part: windows(part, grid))(_halves(x))


def _multiply(seen: jax.Array, kernel: jax.Array) -> jax.Array:
    """The windows `[parts, rows, taps * C]` times the flattened kernel.

    A matrix for each part: with one for all, XLA makes windows of another shape for this product,
    in loops that are not vectorised.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return jnp.einsum("hkm,hmn->hkn", seen, jnp.broadcast_to(matrix, (len(seen), *matrix.shape)))


def _contract(seen: jax.Array, y: jax.Array, shape: Ints) -> jax.Array:
    """seen^T y over the rows of all parts, as a kernel of `shape` `[..., C, O]`."""
    y = _halves(y).reshape(*seen.shape[:2], -1)
    if seen.shape[-1] <= y.shape[-1]:
        return jnp.einsum("hkm,hkn->hmn", seen, y).sum(0).reshape(shape)
    # The narrower matrix first, which is faster, and transposed after a reshape: XLA would turn
    # the transpose of a product into the slower product.
    product = jnp.einsum("hkn,hkm->hnm", y, seen).sum(0)
    return jnp.moveaxis(product.reshape(shape[-1], *shape[:-1]), 0, -1)


def _turn(kernel: jax.Array) -> jax.Array:
    """The kernel `[..., C, O]` reversed in space, `[..., O, C]`."""
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)
