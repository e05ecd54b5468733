"""Data that stays on the device as uint8."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import ImageDataset

Arrays = tuple[Any, ...]


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


def gather_batch(
    images: jax.Array | np.ndarray, labels: jax.Array | np.ndarray, rows: jax.Array
) -> dict[str, jax.Array]:
    """The rows `[B]` as a batch: "image" `[B, H, W, C]` float32 in [0, 1], "label" `[B]`."""
    # Flat while gathering and scaling, which XLA's CPU loops then vectorise.
    pixels = jnp.asarray(images).reshape(images.shape[0], -1)[rows].astype(jnp.float32) / 255
    image = pixels.reshape(rows.shape[0], *images.shape[1:])
    return {"image": image, "label": jnp.asarray(labels)[rows]}


class Resident:
    """A data set on the device; a segment is any run of batches, gathered there."""

    def __init__(self, dataset: ImageDataset, sharding: jax.sharding.Sharding | None = None):
        self.dataset = dataset
        self._sharding = sharding
        self._images = jax.device_put(np.asarray(dataset.images), sharding)
        self._labels = jax.device_put(np.asarray(dataset.labels), sharding)

    @staticmethod
    def take(arrays: Arrays, index: jax.Array) -> dict[str, jax.Array]:
        """Batch `index` of images `[N, H, W, C]`, labels `[N]` and an order `[S, B]`."""
        images, labels, order = arrays
        return gather_batch(images, labels, order[index])

    def segments(
        self, order: np.ndarray | jax.Array, first: int, pace: Callable[[], int]
    ) -> Iterator[Segment]:
        """Batches `first` to the end of `order` `[S, B]`, at most `pace()` of them at a time."""
        arrays = (self._images, self._labels, jax.device_put(order, self._sharding))
        while first < order.shape[0]:
            last = min(order.shape[0], first + max(1, pace()))
            yield Segment(arrays, first, last, 0)
            first = last
