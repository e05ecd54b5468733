"""Convolutions as matrix products, for CPUs.

XLA's CPU convolutions are slow, and several times slower inside a loop. Here a convolution is one
product of windows of the input, side by side, with the flattened kernel. One to fewer channels is
the product first and the sum of its shifted slices after, which moves less. One over a dilated
input (a transposed convolution, and the gradient of a strided one) is a product for each phase of
the output's rows, so few products with an inserted zero are made. The gradients are written by
hand: left to automatic differentiation, they would scatter into overlapping windows.

Forward-mode differentiation (`jax.jvp`) is not defined for it: where that is needed, use
`flax.linen.Conv`, which takes the same parameters.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from aejax.nets.matmul_convolution import matmul_convolution
from aejax.nets.products import Pads
from aejax.nets.windows import pad

TILE_BYTES = 2**27  # of windows made at a time
FALLBACK = "aejax_fallback"  # the scope of XLA's convolution where there is no form of ours


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

    Matrix products on CPU, XLA's convolution elsewhere. What the products see at a time is
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
    unusual = feature_group_count > 1 or precision is not None or 0 in (x.size, output.size)
    spacings = sum(any(s > 1 for s in each) for each in (strides, lhs_dilation, dilation))
    too_big = image_bytes > TILE_BYTES and any(s > 1 for s in lhs_dilation)
    if unusual or spacings > 1 or too_big:
        with jax.named_scope(FALLBACK):
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
