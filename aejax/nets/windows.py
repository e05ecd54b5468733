"""What each output of a convolution sees, channels last."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Ints = tuple[int, ...]


def windows(
    x: jax.Array, starts: Sequence[np.ndarray], sizes: Sequence[int], dilation: Sequence[int]
) -> jax.Array:
    """Windows of x `[B, ..., C]` from every combination of `starts`: `[B * starts, sizes * C]`.

    A gather of whole rows copies several times faster on CPU than a concatenation of shifted
    slices. The batch is a dimension of the gather of its own, so that sharding can split it.
    """
    batch, channels, rank = x.shape[0], x.shape[-1], len(sizes)
    taps = [np.zeros(1, int)] * rank
    whole: tuple[int, ...] = tuple(sizes)
    if any(spacing > 1 for spacing in dilation):
        taps = [np.arange(k) * d for k, d in zip(sizes, dilation, strict=True)]
        whole = (1,) * rank
    grid = np.meshgrid(*starts, *taps, indexing="ij")
    at = np.stack([grid[i] + grid[rank + i] for i in range(rank)], axis=-1).reshape(-1, rank)
    at[:, -1] *= channels
    rows = x.reshape(*x.shape[:-2], -1)
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
    return gathered.reshape(-1, int(np.prod(sizes)) * channels)


def shifted(
    x: jax.Array,
    tap: Sequence[int],
    counts: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> jax.Array:
    """What one tap sees: the slice of x `[B, ..., C]` from `tap`, `[B, *counts, C]`."""
    start = [t * d for t, d in zip(tap, dilation, strict=True)]
    limit = [o + (n - 1) * s + 1 for o, n, s in zip(start, counts, strides, strict=True)]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *limit, x.shape[-1]), (1, *strides, 1))


def pad(x: jax.Array, pads: Sequence[tuple[int, int]], value: float = 0.0) -> jax.Array:
    """`[B, ..., C]` with (low, high) more at each spatial axis; negative amounts crop."""
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)]
    return lax.pad(x, jnp.asarray(value, x.dtype), config)
