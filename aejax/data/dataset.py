"""A split of a data set, decoded."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

UNLABELLED = -1


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """Decoded images of one size, usually memory-mapped from the cache.

    Attributes:
        images: `[N, H, W, C]`, uint8.
        labels: `[N]`, int32; all -1 where the data set has no labels.
        label_names: the classes' names, empty where there are none.
        name: the data set's name.
    """

    images: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(
                f"images are {self.images.dtype}{list(self.images.shape)}: "
                "give uint8 [N, H, W, C], with C = 1 for grey"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels {list(self.labels.shape)} do not match {len(self.images)} images"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> bool:
        """Whether every image has a class."""
        return bool(len(self.labels)) and int(np.min(self.labels)) > UNLABELLED

    def first(self, count: int) -> "ImageDataset":
        """The first `count` images, or all where there are fewer."""
        return dataclasses.replace(self, images=self.images[:count], labels=self.labels[:count])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        _, height, width, channels = self.images.shape
        return height, width, channels


def as_float(images: jax.Array) -> jax.Array:
    """Images as models take them: uint8 becomes float32 in [0, 1], floats stay as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images
