"""Data that stays on the device as it is at rest."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import Dataset, as_batch
from aejax.types import Batch

Arrays = tuple[Any, Any]
"""What all batches share, and what is theirs, whose leaves are `[S, B, ...]` for S batches."""


class Segment(NamedTuple):
    """Consecutive batches that one compiled call runs.

    Attributes:
        arrays: on the devices; the source's `take(arrays, index)` makes batch `index` of them.
        first: the first batch to run.
        last: one past the last batch to run.
        offset: where batch 0 stands in its epoch.
    """

    arrays: Arrays
    first: int
    last: int
    offset: int


def gather_batch(arrays: Mapping[str, Any], rows: jax.Array) -> Batch:
    """The rows `[B]` of arrays `[N, ...]` as a batch."""
    # Flat while gathering, which XLA's CPU loops then vectorise.
    flat = {key: jnp.asarray(a).reshape(len(a), -1)[rows] for key, a in arrays.items()}
    return as_batch({key: v.reshape(len(rows), *arrays[key].shape[1:]) for key, v in flat.items()})


class Resident:
    """A data set on the device; a segment is any run of batches, gathered there."""

    def __init__(self, dataset: Dataset, sharding: jax.sharding.Sharding | None = None):
        self.dataset = dataset
        self._sharding = sharding
        self._arrays = jax.device_put({k: np.asarray(a) for k, a in dataset.items()}, sharding)

    @staticmethod
    def take(arrays: Arrays, index: jax.Array) -> Batch:
        """Batch `index` of named arrays `[N, ...]` and an order `[S, B]`."""
        named, order = arrays
        return gather_batch(named, order[index])

    def segments(
        self, order: np.ndarray | jax.Array, first: int, pace: Callable[[], int]
    ) -> Iterator[Segment]:
        """Batches `first` to the end of `order` `[S, B]`, at most `pace()` of them at a time."""
        arrays = (self._arrays, jax.device_put(order, self._sharding))
        while first < order.shape[0]:
            last = min(order.shape[0], first + max(1, pace()))
            yield Segment(arrays, first, last, 0)
            first = last
