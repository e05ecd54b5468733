"""What each output of a convolution sees, channels last."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Ints = tuple[int, ...]

MOST_SLICES = 9  # beyond, a gather: each element of a window tests every slice for being its own


class Grid(NamedTuple):
    """Windows of `sizes` taps at `counts` sites: site i and tap t meet at i s + t d - low."""

    sizes: Ints
    counts: Ints
    strides: Ints
    dilation: Ints
    low: Ints


def windows(x: jax.Array, grid: Grid) -> jax.Array:
    """What x `[B, ..., C]` has at every site of the grid, zero outside: `[B * sites, taps * C]`.

    The sum of a few slices, each padded to its place in the window, is a single vector loop on
    CPU, up to ten times faster than a gather; of many slices it is not.
    """
    # A single site has no stride: what it would skip need not be padded.
    strides = tuple(
        min(s, k) if n == 1 else s
        for s, k, n in zip(grid.strides, grid.sizes, grid.counts, strict=True)
    )
    grid = grid._replace(strides=strides)
    if math.prod(grid.sizes[:-1]) * len(_runs(grid)) <= MOST_SLICES:
        return _padded_slices(x, grid)
    return _gathered(x, grid)


def _runs(grid: Grid) -> list[tuple[int, int]]:
    """(tap, number of taps) of what neighbouring sites of the last axis see side by side."""
    size, stride = grid.sizes[-1], grid.strides[-1]
    step = stride if grid.dilation[-1] == 1 else 1
    return [(tap, min(step, size - tap)) for tap in range(0, size, step)]


def _padded_slices(x: jax.Array, grid: Grid) -> jax.Array:
    channels, zero, width = x.shape[-1], jnp.zeros((), x.dtype), math.prod(grid.sizes)
    # Every slice is cut where all its sites end, with the axes joined: so each takes padding with
    # it, and XLA fills the padded array once instead of computing x anew for every slice. Slices
    # from later taps of the inner axes end in one more place of the first.
    reach = [(k - 1) * d + n * s for k, n, s, d, _ in zip(*grid, strict=True)]
    reach[0] += 1
    flat = _pad_to(x, list(zip(grid.low, reach, strict=True))).reshape(x.shape[0], -1)
    steps = [math.prod(reach[axis + 1 :]) * channels for axis in range(len(reach))]
    terms = []
    for place, tap in enumerate(np.ndindex(*grid.sizes[:-1])):
        for first, taps in _runs(grid):
            at = zip((*tap, first), grid.dilation, steps, strict=True)
            start = sum(t * d * step for t, d, step in at)
            run = flat[:, start : start + grid.counts[0] * grid.strides[0] * steps[0]]
            for count, stride, step in zip(grid.counts, grid.strides, steps, strict=True):
                run = run[..., : count * stride * step].reshape(*run.shape[:-1], count, -1)
            run = run[..., : taps * channels]
            low = place * grid.sizes[-1] + first
            high = width - low - taps
            config = [(0, 0, 0)] * (run.ndim - 1) + [(low * channels, high * channels, 0)]
            terms.append(lax.pad(run, zero, config))
    return sum(terms[1:], terms[0]).reshape(-1, width * channels)


def _pad_to(x: jax.Array, places: Sequence[tuple[int, int]]) -> jax.Array:
    """Of x `[B, ..., W, C]`, (low, size) an axis: `[B, ..., size C]`, from -low, zero outside.

    The last axis joins the channels: XLA makes no vector loops over a few channels alone.
    """
    channels = x.shape[-1]
    config = [(low, size - low - n) for n, (low, size) in zip(x.shape[1:-1], places, strict=True)]
    config[-1] = (config[-1][0] * channels, config[-1][1] * channels)
    x = x.reshape(*x.shape[:-2], -1)
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in config)])


def _gathered(x: jax.Array, grid: Grid) -> jax.Array:
    """Whole rows are gathered, with the batch a dimension of its own: sharding can split it."""
    batch, channels, rank = x.shape[0], x.shape[-1], len(grid.sizes)
    ends = [(low, (n - 1) * s + (k - 1) * d + 1) for k, n, s, d, low in zip(*grid, strict=True)]
    rows = _pad_to(x, ends)
    starts = [np.arange(n) * s for n, s in zip(grid.counts, grid.strides, strict=True)]
    taps = [np.zeros(1, int)] * rank
    whole: tuple[int, ...] = grid.sizes
    if any(spacing > 1 for spacing in grid.dilation):
        taps = [np.arange(k) * d for k, d in zip(grid.sizes, grid.dilation, strict=True)]
        whole = (1,) * rank
    index = np.meshgrid(*starts, *taps, indexing="ij")
    at = np.stack([index[i] + index[rank + i] for i in range(rank)], axis=-1).reshape(-1, rank)
    at[:, -1] *= channels
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(2, 2 + rank)),
        collapsed_slice_dims=(),
        start_index_map=tuple(range(1, 1 + rank)),
        operand_batching_dims=(0,),
        start_indices_batching_dims=(0,),
    )
    gathered = lax.gather(
        rows,
        jnp.broadcast_to(jnp.asarray(at, jnp.int32), (batch, *at.shape)),
        numbers,
        (1, *whole[:-1], whole[-1] * channels),
        mode="promise_in_bounds",
    )
    return gathered.reshape(-1, math.prod(grid.sizes) * channels)


def shifted(
    x: jax.Array, tap: Sequence[int], counts: Sequence[int], dilation: Sequence[int]
) -> jax.Array:
    """What one tap sees: the slice of x `[B, ..., C]` from `tap`, `[B, *counts, C]`."""
    at = [slice(t * d, t * d + n) for t, n, d in zip(tap, counts, dilation, strict=True)]
    return x[(slice(None), *at)]


def pad(x: jax.Array, pads: Sequence[tuple[int, int]], value: float = 0.0) -> jax.Array:
    """`[B, ..., C]` with (low, high) more at each spatial axis; negative amounts crop."""
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)]
    return lax.pad(x, jnp.asarray(value, x.dtype), config)
