"""Data that stays on the device as uint8."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import ImageDataset


class Segment(NamedTuple):
    """Consecutive batches that one compiled call runs.

    Attributes:
        images: `[N, H, W, C]`, uint8.
        labels: `[N]`, int32.
        order: `[S, B]`, int32: batch i is `images[order[i]]`.
        first: the first batch to run.
        last: one past the last batch to run.
        offset: where batch 0 of `order` stands in its epoch.
    """

    images: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray
    order: jax.Array | np.ndarray
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
        self._images = jax.device_put(np.asarray(dataset.images), sharding)
        self._labels = jax.device_put(np.asarray(dataset.labels), sharding)

    def segments(self, order: jax.Array, first: int, pace: Callable[[], int]) -> Iterator[Segment]:
        """Batches `first` to the end of `order` `[S, B]`, at most `pace()` of them at a time."""
        while first < order.shape[0]:
            last = min(order.shape[0], first + max(1, pace()))
            yield Segment(self._images, self._labels, order, first, last, 0)
            first = last
