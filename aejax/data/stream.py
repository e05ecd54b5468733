"""Data that stays on disk: grain reads chunks of batches ahead of the device.

A chunk holds as many batches as fit in `CHUNK_BYTES`; at most `PREFETCH` chunks wait, so memory is
bounded by these two and not by the data set. Of several processes, each reads the rows of its own
devices alone.
"""

from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.data.dataset import Dataset, as_batch
from aejax.data.resident import Arrays, Segment
from aejax.types import Batch

CHUNK_BYTES = 8 * 2**20
PREFETCH = 2


class _Chunks:
    """A grain source whose element i is the i-th chunk of batches, gathered from disk."""

    def __init__(self, dataset: Dataset, order: np.ndarray, first: int, per_chunk: int):
        self._dataset = dataset
        self._order = order
        self._starts = range(first, len(order), per_chunk)
        self._per_chunk = per_chunk

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batches = self._order[self._starts[index] :][: self._per_chunk]
        # The last chunk is filled up with the first image: one shape, one compilation.
        wanted = np.pad(batches, ((0, self._per_chunk - len(batches)), (0, 0)))
        return {
            "arrays": {key: values[wanted] for key, values in self._dataset.items()},
            "batches": np.int32(len(batches)),
            "offset": np.int32(self._starts[index]),
        }


class Stream:
    """A data set on disk; a segment is one chunk, read ahead by a grain thread."""

    def __init__(self, dataset: Dataset, mesh: Mesh):
        self.dataset = dataset
        self._sharding = NamedSharding(mesh, PartitionSpec(None, "data"))

    @staticmethod
    def take(arrays: Arrays, index: jax.Array) -> Batch:
        """Batch `index` of named arrays `[S, B, ...]`."""
        return as_batch({key: values[index] for key, values in arrays[1].items()})

    def segments(
        self, order: np.ndarray | jax.Array, first: int, pace: Callable[[], int]
    ) -> Iterator[Segment]:
        """Batches `first` to the end of `order` `[S, B]`, a chunk at a time; `pace` is not used."""
        steps, batch_size = order.shape
        row_bytes = sum(values[0].nbytes for _, values in self.dataset.items())
        per_chunk = max(1, min(steps, CHUNK_BYTES // (batch_size * row_bytes)))
        shape = (per_chunk, batch_size)
        own = self._own_columns(shape)
        source = _Chunks(self.dataset, np.asarray(order)[:, own], first, per_chunk)
        reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=PREFETCH)
        for chunk in grain.MapDataset.source(source).to_iter_dataset(reading):
            arrays = {k: self._placed(values, own, shape) for k, values in chunk["arrays"].items()}
            yield Segment(((), arrays), 0, int(chunk["batches"]), int(chunk["offset"]))

    def _own_columns(self, shape: tuple[int, int]) -> np.ndarray:
        """The columns of an order `[S, B]` that lie on this process's devices, ascending."""
        indices = self._sharding.addressable_devices_indices_map(shape).values()
        columns = [range(*index[1].indices(shape[1])) for index in indices if index is not None]
        return np.unique(np.concatenate(columns))

    def _placed(self, values: np.ndarray, own: np.ndarray, shape: tuple[int, int]) -> jax.Array:
        """The global array of which this process has read the columns `own`."""

        def of_device(index: Any) -> np.ndarray:
            start, stop, _ = index[1].indices(shape[1])
            first, last = np.searchsorted(own, (start, stop))
            return values[:, first:last]

        whole = (*shape, *values.shape[2:])
        return jax.make_array_from_callback(whole, self._sharding, of_device)
