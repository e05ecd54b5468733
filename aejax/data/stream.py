"""Data that stays on disk: grain reads chunks of batches ahead of the device.

A chunk holds as many batches as fit in `CHUNK_BYTES`; at most `PREFETCH` chunks wait, so memory is
bounded by these two and not by the data set.
"""

from collections.abc import Callable, Iterator

import grain
import jax
import numpy as np

from aejax.data.dataset import ImageDataset
from aejax.data.resident import Segment

CHUNK_BYTES = 8 * 2**20
PREFETCH = 2


class _Chunks:
    """A grain source whose element i is the i-th chunk of batches, gathered from disk."""

    def __init__(self, dataset: ImageDataset, order: np.ndarray, first: int, per_chunk: int):
        self._dataset = dataset
        self._order = order
        self._starts = range(first, len(order), per_chunk)
        self._per_chunk = per_chunk

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        batches = self._order[self._starts[index] :][: self._per_chunk]
        wanted = batches.reshape(-1)
        # The last chunk is filled up with the first image: one shape, one compilation.
        wanted = np.pad(wanted, (0, self._per_chunk * batches.shape[1] - len(wanted)))
        return {
            "images": self._dataset.images[wanted],
            "labels": self._dataset.labels[wanted],
            "batches": np.int32(len(batches)),
            "offset": np.int32(self._starts[index]),
        }


class Stream:
    """A data set on disk; a segment is one chunk, read ahead by a grain thread."""

    def __init__(self, dataset: ImageDataset, sharding: jax.sharding.Sharding | None = None):
        self.dataset = dataset
        self._sharding = sharding

    def segments(self, order: jax.Array, first: int, pace: Callable[[], int]) -> Iterator[Segment]:
        """Batches `first` to the end of `order` `[S, B]`, a chunk at a time; `pace` is not used."""
        steps, batch_size = order.shape
        image_bytes = self.dataset.images[0].nbytes
        per_chunk = max(1, min(steps, CHUNK_BYTES // (batch_size * image_bytes)))
        source = _Chunks(self.dataset, np.asarray(order), first, per_chunk)
        within = np.arange(per_chunk * batch_size, dtype=np.int32).reshape(per_chunk, batch_size)
        reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=PREFETCH)
        for chunk in grain.MapDataset.source(source).to_iter_dataset(reading):
            images, labels = jax.device_put((chunk["images"], chunk["labels"]), self._sharding)
            yield Segment(images, labels, within, 0, int(chunk["batches"]), int(chunk["offset"]))
