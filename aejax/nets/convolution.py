"""Convolutions as matrix products, for CPUs.

XLA's CPU convolutions are slow, and several times slower inside a loop. Here a convolution is one
product of windows of the input, gathered side by side, with the flattened kernel. One to fewer
channels is the product first and the sum of its shifted slices after, which moves less. One of a
single channel is a sum of shifted slices, which XLA fuses into a direct convolution. One over a
dilated input (a transposed convolution, and the gradient of a strided one) is a product for each
phase of the output's rows, so few products with an inserted zero are made. The gradients are
written by hand: left to automatic differentiation, they would scatter into overlapping windows.

Forward-mode differentiation (`jax.jvp`) is not defined for it: where that is needed, use
`flax.linen.Conv`, which takes the same parameters.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from aejax.nets.products import Pads, dilated, narrows, patches, strided, tap_by_tap
from aejax.nets.windows import Ints, pad

TILE_BYTES = 2**27  # of windows gathered at a time


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
        seen = patches(x, sizes, dy.shape[1:-1], strides, padding, dilation)
        return dx, _contract(seen, dy.reshape(-1, dy.shape[-1])).reshape(kernel.shape)
    # Both gradients of a transposed or narrowing convolution are products with patches of dy.
    spread = [(n - 1) * s + 1 for n, s in zip(x.shape[1:-1], lhs_dilation, strict=True)]
    high = [m + r - lo - n for m, r, lo, n in zip(spread, reach, low, dy.shape[1:-1], strict=True)]
    pads = tuple(zip(low, high, strict=True))
    seen = patches(dy, sizes, x.shape[1:-1], lhs_dilation, pads, dilation)
    if dy.shape[-1] == 1:
        dx = tap_by_tap(dy, turned, x.shape[1:-1], lhs_dilation, pads, dilation)
    else:
        dx = (seen @ turned.reshape(-1, x.shape[-1])).reshape(x.shape)
    return dx, _turn(_contract(seen, x.reshape(-1, x.shape[-1])).reshape(turned.shape))


matmul_convolution.defvjp(_forward, _backward)


def _contract(a: jax.Array, b: jax.Array) -> jax.Array:
    """a^T b over many rows, the narrower matrix first: Eigen multiplies it faster so."""
    return a.T @ b if a.shape[-1] <= b.shape[-1] else (b.T @ a).T


def _turn(kernel: jax.Array) -> jax.Array:
    """The kernel `[..., C, O]` reversed in space, `[..., O, C]`."""
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: lax.ConvDimensionNumbers | None = None,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """`lax.conv_general_dilated`, channels last, in the form that suits the platform.

    Matrix products on CPU, XLA's convolution elsewhere. What the products gather at a time is
    bounded: larger batches go part by part, larger images band by band. XLA's too for groups, a
    stated precision, two of strides and dilations at once, and a transposed convolution of a
    single image beyond that bound.
    """
    rank = kernel.ndim - 2
    ones = (1,) * rank
    strides, dilation = tuple(strides), tuple(rhs_dilation or ones)
    lhs_dilation = tuple(lhs_dilation or ones)
    spread = [(n - 1) * s + 1 for n, s in zip(x.shape[1:-1], lhs_dilation, strict=True)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:-2], dilation, strict=True)]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(spread, reach, strides, padding)
    pads = tuple((int(lo), int(hi)) for lo, hi in padding)
    spatial = "DHW"[3 - rank :]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")

    def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            lhs_dilation,
            dilation,
            layout,
            feature_group_count,
            precision=precision,
        )

    def products(x: jax.Array, kernel: jax.Array) -> jax.Array:
        def part(x: jax.Array, pads: Pads = pads) -> jax.Array:
            return matmul_convolution(x, kernel, strides, pads, lhs_dilation, dilation)

        if image_bytes * x.shape[0] <= TILE_BYTES:
            return part(x)
        if image_bytes <= TILE_BYTES:
            return _over_images(part, x, int(TILE_BYTES // image_bytes))
        bands = -(-image_bytes // TILE_BYTES)
        return _over_rows(part, x, pads, output.shape[1], reach[0], strides[0], bands)

    output = jax.eval_shape(xla, x, kernel)
    sites = min(math.prod(x.shape[1:-1]), math.prod(output.shape[1:-1]))
    widest = max(kernel.shape[-2:])
    image_bytes = sites * math.prod(kernel.shape[:-2]) * widest * x.dtype.itemsize
    unusual = feature_group_count > 1 or precision is not None or output.size == 0
    spacings = sum(any(s > 1 for s in each) for each in (strides, lhs_dilation, dilation))
    too_big = image_bytes > TILE_BYTES and any(s > 1 for s in lhs_dilation)
    if unusual or spacings > 1 or too_big:
        return xla(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=products, default=xla)


def _over_images(function: Callable[[jax.Array], jax.Array], x: jax.Array, limit: int) -> jax.Array:
    """`function` of the greatest equal parts of the batch with up to `limit` images, in turn."""
    batch = x.shape[0]
    size = max(n for n in range(1, limit + 1) if batch % n == 0)
    y = lax.map(function, x.reshape(batch // size, size, *x.shape[1:]))
    return y.reshape(batch, *y.shape[2:])


def _over_rows(
    function: Callable[[jax.Array, Pads], jax.Array],
    x: jax.Array,
    pads: Pads,
    rows: int,
    reach: int,
    stride: int,
    bands: int,
) -> jax.Array:
    """`function` of image after image, band after band of `rows` rows of output, in turn."""
    height = -(-rows // bands)
    bands = -(-rows // height)
    taken = (height - 1) * stride + reach
    low = pads[0][0]
    high = (bands * height - 1) * stride + reach - x.shape[1] - low
    x = pad(x, [(low, high), *[(0, 0)] * (len(pads) - 1)])

    def band(place: jax.Array) -> jax.Array:
        image, row = place // bands, place % bands * (height * stride)
        start = [image, row, *[jnp.int32(0)] * (x.ndim - 2)]
        part = lax.dynamic_slice(x, start, (1, taken, *x.shape[2:]))
        return function(part, ((0, 0), *pads[1:]))[0]

    y = lax.map(band, jnp.arange(x.shape[0] * bands))
    return y.reshape(x.shape[0], bands * height, *y.shape[2:])[:, :rows]
