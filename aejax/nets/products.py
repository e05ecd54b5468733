"""The forms in which a CPU computes a convolution of `[B, ..., C]` with `[..., C, O]`.

What was tried, in ms on two cores (Zen 4, float32 peak 210 GFLOP/s, batch 128, inside a loop). The
floor is the arithmetic at the peak, or the bytes at the 30 GB/s that two cores copy once a step's
arrays leave the cache. Large products reach 0.8 of the peak, the weights' gradient 0.65. Of a
step of the 32-64 network, 98 ms on one core, the products are 66 (0.8 of that core's peak), windows
and their padding 22, the interleaving of phases 3, all else 7; two cores take 52 to 56.

    transposed 3 x 3, stride 2, 14 x 14 x 64 -> 28 x 28 x 32: forward (floor 4.4)
        four phases, slices concatenated, then interleaved   21.8
        product first, then the sum of shifted slices        14.1
        all four phases in one product, zeros included       14.7
        a product a phase of rows (used)                     11.1, with gathered windows 13.8
        windows of columns, then the sum over rows           12.7 to 15.4
        XLA's convolution of the dilated input               15.5 to 20
    windows of its gradient, 29 MB (floor 1)
        slices, stacked or written into zeros                5.2 to 8.3
        gathered by window (for many taps)                   4.2
        padded slices, summed (used)                         2.1 to 2.7
    windows 3 x 3 of 14 x 14 x 8, 7 MB: gathered 0.98, padded slices 0.10
    windows 4 x 4 of 14 x 14 x 32, stride 1: gathered 6.8, sixteen padded slices 29
    3 x 3 to one channel, 28 x 28 x 32 (floor 0.3)
        windows, then the product                            32.5
        product first (used)                                 2.1
    weights' gradient [25088, 288]^T [25088, 64] (floor 4.4)
        as it stands; the transpose of b^T a                 10.9; 8.9
        of both halves of the rows, b^T a (used)             6.9
        split by 4, by 8                                     7.2, 8.0
    both gradients from one array of windows
        all rows at once; in halves (used)                   18 to 20; 16.2
        halves of windows made whole: other loops            38
    elementwise, 0.8 MB in the cache, one core: minor axis of 32 or less 0.056, of 64 or more 0.009
    one channel in, tap by tap: 0.1 alone, but computed anew in every consumer (3 ms a step)
    channels first and the batch last: every loop a vector loop, the weights' gradient 6.6, but
        windows 5 to 9 and a transposition wherever XLA sums; 104 a step of all layers, not 55
    windows kept for the backward pass, not made twice: no gain, 0 to 10 % loss
    the same in tiles of 2 to 32 images: no gain, 0 to 30 % loss
    max-pooling 2 x 2 of 28 x 28 x 16, with gradient: XLA's 14.5, slices 2.4
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from aejax.nets.windows import Grid, Ints, pad, shifted, windows

Pads = tuple[tuple[int, int], ...]
Taps = list[tuple[int, int]]


def strided(
    x: jax.Array, kernel: jax.Array, strides: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    """A convolution with strides, in the form that moves least."""
    sizes = kernel.shape[:-2]
    outputs = tuple(
        (n + lo + hi - (k - 1) * d - 1) // s + 1
        for n, (lo, hi), k, d, s in zip(
            x.shape[1:-1], padding, sizes, dilation, strides, strict=True
        )
    )
    if narrows(kernel, strides):
        return product_first(x, kernel, outputs, padding, dilation)
    low = tuple(lo for lo, _ in padding)
    seen = windows(x, Grid(sizes, outputs, strides, dilation, low))
    y = seen @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(x.shape[0], *outputs, -1)


def narrows(kernel: jax.Array, strides: Ints) -> bool:
    """Whether windows of the output are smaller than windows of the input."""
    return kernel.shape[-1] < kernel.shape[-2] and all(stride == 1 for stride in strides)


def product_first(
    x: jax.Array, kernel: jax.Array, outputs: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    """Stride 1: every tap's product with every input, then the sum of its shifted slices."""
    sizes, (in_features, features) = kernel.shape[:-2], kernel.shape[-2:]
    columns = kernel.reshape(-1, in_features, features).swapaxes(0, 1).reshape(in_features, -1)
    products = (x.reshape(-1, in_features) @ columns).reshape(*x.shape[:-1], -1)
    products = pad(products, padding)
    y = jnp.zeros((x.shape[0], *outputs, features), x.dtype)
    for index, tap in enumerate(itertools.product(*map(range, sizes))):
        term = shifted(products, tap, outputs, dilation)
        y = y + term[..., index * features : (index + 1) * features]
    return y


def dilated(x: jax.Array, kernel: jax.Array, padding: Pads, factors: Ints) -> jax.Array:
    """Stride 1 over x dilated by `factors`: a product for each phase of the leading axes.

    Output `factor * q + phase` meets input `q + offset` through a tap of
    its own.
    The phases of the last axis share a product, with zeros in the kernel where they do not meet:
    they come out side by side, as the output has them.
    """
    rank, outputs, counts = len(factors), [], []
    taps: list[list[Taps]] = []
    for n, (lo, hi), k, s in zip(x.shape[1:-1], padding, kernel.shape[:-2], factors, strict=True):
        outputs.append((n - 1) * s + 1 + lo + hi - (k - 1))
        counts.append(-(-outputs[-1] // s))
        taps.append(
            [[(t, (p + t - lo) // s) for t in range(k) if (p + t - lo) % s == 0] for p in range(s)]
        )
    phases = [
        _phase(x, kernel, leading, taps[-1], counts) for leading in itertools.product(*taps[:-1])
    ]
    y = jnp.stack(phases, axis=rank).reshape(x.shape[0], *counts[:-1], *factors[:-1], -1)
    order = [axis for i in range(rank - 1) for axis in (1 + i, rank + i)]
    y = y.transpose(0, *order, 2 * rank - 1)
    sides = [q * s for q, s in zip(counts, factors, strict=True)]
    return y.reshape(x.shape[0], *sides, -1)[(slice(None), *(slice(n) for n in outputs))]


def _phase(
    x: jax.Array,
    kernel: jax.Array,
    leading: Sequence[Taps],
    last: list[Taps],
    counts: list[int],
) -> jax.Array:
    """One phase of the leading axes and all of the last, `[B, *counts, len(last) * O]`."""
    in_features, features = kernel.shape[-2:]
    shape = (x.shape[0], *counts, len(last) * features)
    if not all(leading):
        return jnp.zeros(shape, x.dtype)
    nearest = min(offset for phase in last for _, offset in phase)
    width = max(offset for phase in last for _, offset in phase) - nearest + 1
    kernel = kernel[tuple(np.ix_(*([t for t, _ in axis] for axis in leading)))]
    zeros = jnp.zeros((*kernel.shape[:-3], in_features, features), kernel.dtype)
    blocks = []
    for offset in range(nearest, nearest + width):
        met = [next((t for t, o in phase if o == offset), None) for phase in last]
        row = [zeros if tap is None else kernel[..., tap, :, :] for tap in met]
        blocks.append(jnp.concatenate(row, axis=-1))
    weights = jnp.stack(blocks, axis=-3).reshape(-1, shape[-1])
    first = [axis[0][1] for axis in leading] + [nearest]
    sizes = (*(len(axis) for axis in leading), width)
    ones = (1,) * len(sizes)
    grid = Grid(sizes, tuple(counts), ones, ones, tuple(-offset for offset in first))
    return (windows(x, grid) @ weights).reshape(shape)
