"""Convolutions as matrix products, for CPUs.

XLA's CPU convolutions are slow, and several times slower inside a loop. Here a convolution is one
product of shifted slices, laid side by side, with the flattened kernel. One to fewer channels is
the product first and the sum of its shifted slices after, which moves less. A convolution over a
dilated input (a transposed one, and the gradient of a strided one) is a product for each phase of
the output, so no product with an inserted zero is made. The gradients are written by hand: left
to automatic differentiation, they would scatter into overlapping patches.

Forward-mode differentiation (`jax.jvp`) is not defined for it: where that is needed, use
`flax.linen.Conv`, which takes the same parameters.
"""

import itertools
import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


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

    Either `strides` or `lhs_dilation` must be all ones.
    """
    if all(factor == 1 for factor in lhs_dilation):
        return _strided(x, kernel, strides, padding, dilation)
    return _dilated(x, kernel, padding, lhs_dilation, dilation)


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
    reach = [(k - 1) * d for k, d in zip(sizes, dilation, strict=True)]
    low = [r - p for r, (p, _) in zip(reach, padding, strict=True)]
    if all(factor == 1 for factor in lhs_dilation) and not _narrows(kernel, strides):
        # x's gradient is dy, dilated by the strides, convolved with the turned kernel.
        spread = [(n - 1) * s + 1 for n, s in zip(dy.shape[1:-1], strides, strict=True)]
        high = [
            n + r - lo - m for n, r, lo, m in zip(x.shape[1:-1], reach, low, spread, strict=True)
        ]
        pads = tuple(zip(low, high, strict=True))
        ones = (1,) * len(sizes)
        dx = matmul_convolution(dy, _turn(kernel), ones, pads, strides, dilation)
        patches = _patches(x, sizes, dy.shape[1:-1], strides, padding, dilation)
        return dx, (patches.T @ dy.reshape(-1, dy.shape[-1])).reshape(kernel.shape)
    # Both gradients of a transposed or narrowing convolution are products with patches of dy.
    spread = [(n - 1) * s + 1 for n, s in zip(x.shape[1:-1], lhs_dilation, strict=True)]
    high = [m + r - lo - n for m, r, lo, n in zip(spread, reach, low, dy.shape[1:-1], strict=True)]
    pads = tuple(zip(low, high, strict=True))
    patches = _patches(dy, sizes, x.shape[1:-1], lhs_dilation, pads, dilation)
    turned = _turn(kernel)
    dx = patches @ turned.reshape(-1, x.shape[-1])
    dturned = patches.T @ x.reshape(-1, x.shape[-1])
    return dx.reshape(x.shape), _turn(dturned.reshape(turned.shape))


matmul_convolution.defvjp(_forward, _backward)


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

    Matrix products on CPU, XLA's convolution elsewhere, and XLA's too for groups, a stated
    precision, strides over a dilated input, and patches that would take over half a gigabyte.
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
        return matmul_convolution(x, kernel, strides, pads, lhs_dilation, dilation)

    output = jax.eval_shape(xla, x, kernel)
    patch_bytes = max(x.size, output.size) * math.prod(kernel.shape[:-2]) * x.dtype.itemsize
    unusual = feature_group_count > 1 or precision is not None or output.size == 0
    both = any(s > 1 for s in strides) and any(s > 1 for s in lhs_dilation)
    if unusual or both or patch_bytes > 2**29:
        return xla(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=products, default=xla)


def _strided(
    x: jax.Array, kernel: jax.Array, strides: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    sizes = kernel.shape[:-2]
    outputs = tuple(
        (n + lo + hi - (k - 1) * d - 1) // s + 1
        for n, (lo, hi), k, d, s in zip(
            x.shape[1:-1], padding, sizes, dilation, strides, strict=True
        )
    )
    if _narrows(kernel, strides):
        return _product_first(x, kernel, outputs, padding, dilation)
    patches = _patches(x, sizes, outputs, strides, padding, dilation)
    y = patches @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(x.shape[0], *outputs, -1)


def _narrows(kernel: jax.Array, strides: Ints) -> bool:
    """Whether patches of the output are smaller than patches of the input."""
    return kernel.shape[-1] < kernel.shape[-2] and all(stride == 1 for stride in strides)


def _product_first(
    x: jax.Array, kernel: jax.Array, outputs: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    """Stride 1: every tap's product with every input, then the sum of its shifted slices."""
    sizes, (in_features, features) = kernel.shape[:-2], kernel.shape[-2:]
    columns = kernel.reshape(-1, in_features, features).swapaxes(0, 1).reshape(in_features, -1)
    products = (x.reshape(-1, in_features) @ columns).reshape(*x.shape[:-1], -1)
    products = _pad(products, padding)
    ones = (1,) * len(sizes)
    y = jnp.zeros((x.shape[0], *outputs, features), x.dtype)
    for index, tap in enumerate(itertools.product(*map(range, sizes))):
        start = [t * d for t, d in zip(tap, dilation, strict=True)]
        shifted = _slice(products, start, outputs, ones)
        y = y + shifted[..., index * features : (index + 1) * features]
    return y


def _dilated(
    x: jax.Array, kernel: jax.Array, padding: Pads, factors: Ints, dilation: Ints
) -> jax.Array:
    """Stride 1 over x dilated by `factors`: one convolution of x a phase, interleaved."""
    sizes, rank = kernel.shape[:-2], len(factors)
    outputs, counts, taps = [], [], []
    for n, (lo, hi), k, d, s in zip(x.shape[1:-1], padding, sizes, dilation, factors, strict=True):
        outputs.append((n - 1) * s + 1 + lo + hi - (k - 1) * d)
        counts.append(-(-outputs[-1] // s))
        # Output s q + phase meets input q + offset where phase + tap d - lo is a multiple of s.
        taps.append(
            [
                [(t, (p + t * d - lo) // s) for t in range(k) if (p + t * d - lo) % s == 0]
                for p in range(s)
            ]
        )
    offsets = [[offset for phase in axis for _, offset in phase] for axis in taps]
    low = [max(0, -min(axis)) for axis in offsets]
    high = [max(0, max(a) + q - n) for a, q, n in zip(offsets, counts, x.shape[1:-1], strict=True)]
    x = _pad(x, list(zip(low, high, strict=True)))
    phases = []
    for phase in itertools.product(*map(range, factors)):
        axes = [taps[axis][phase[axis]] for axis in range(rank)]
        phases.append(_phase(x, kernel, list(itertools.product(*axes)), low, counts))
    y = jnp.stack(phases, axis=1 + rank).reshape(x.shape[0], *counts, *factors, -1)
    order = [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
    y = y.transpose(0, *order, 1 + 2 * rank)
    y = y.reshape(x.shape[0], *(q * s for q, s in zip(counts, factors, strict=True)), -1)
    return y[(slice(None), *(slice(n) for n in outputs))]


def _phase(
    x: jax.Array,
    kernel: jax.Array,
    taps: list[tuple[tuple[int, int], ...]],
    low: list[int],
    counts: list[int],
) -> jax.Array:
    """One phase: the product of the slices and the kernel's taps that meet there."""
    if not taps:
        return jnp.zeros((x.shape[0], *counts, kernel.shape[-1]), x.dtype)
    ones = (1,) * len(counts)
    slices = [
        _slice(x, [o + lo for (_, o), lo in zip(tap, low, strict=True)], counts, ones)
        for tap in taps
    ]
    weights = [kernel[tuple(t for t, _ in tap)] for tap in taps]
    patches = jnp.concatenate(slices, axis=-1)
    y = patches.reshape(-1, patches.shape[-1]) @ jnp.concatenate(weights, axis=0)
    return y.reshape(x.shape[0], *counts, -1)


def _patches(
    x: jax.Array, sizes: Ints, outputs: Ints, strides: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    """What each output sees, `[B * outputs, taps * C]`."""
    pads = []
    for n, (lo, _), k, d, s, m in zip(
        x.shape[1:-1], padding, sizes, dilation, strides, outputs, strict=True
    ):
        pads.append((lo, max(0, (m - 1) * s + (k - 1) * d + 1 - n - lo)))
    x = _pad(x, pads)
    slices = [
        _slice(x, [t * d for t, d in zip(tap, dilation, strict=True)], outputs, strides)
        for tap in itertools.product(*map(range, sizes))
    ]
    return jnp.concatenate(slices, axis=-1).reshape(-1, math.prod(sizes) * x.shape[-1])


def _pad(x: jax.Array, pads: Sequence[tuple[int, int]]) -> jax.Array:
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _slice(
    x: jax.Array, start: Sequence[int], counts: Sequence[int], strides: Sequence[int]
) -> jax.Array:
    limit = [o + (n - 1) * s + 1 for o, n, s in zip(start, counts, strides, strict=True)]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *limit, x.shape[-1]), (1, *strides, 1))


def _turn(kernel: jax.Array) -> jax.Array:
    """The kernel `[..., C, O]` reversed in space, `[..., O, C]`."""
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)
