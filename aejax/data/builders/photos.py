"""photos: colour patches of seven photographs that scikit-learn's and scikit-image's wheels carry.

The files are read where pip put them and never fetched.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

SIDE = 32  # pixels
STRIDE = 7  # pixels from a patch to the next; odd, so that blocks of 2 or 4 lie differently in each
FLAT = 8.0  # of 255: patches of a smaller standard deviation, mean over channels, are left out

FILES = {
    "china": ("sklearn.datasets.images", "china.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "astronaut": ("skimage.data", "astronaut.png"),
    "chelsea": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
}
SPLITS = {
    "train": ("china", "flower", "coffee", "motorcycle", "rocket"),
    "test": ("astronaut", "chelsea"),
}


class Photos(tfds.core.GeneratorBasedBuilder):
    """32 x 32 patches, no labels; the photographs in test are others than those in train."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=(
                f"{SIDE} x {SIDE} patches, every {STRIDE} pixels, of photographs at half their "
                f"size (means of 2 x 2 pixels), patches of nearly one colour left out. "
                f"Train: {', '.join(SPLITS['train'])}. Test: {', '.join(SPLITS['test'])}."
            ),
            features=tfds.features.FeaturesDict(
                {
                    # Tensor and not Image: an Image feature cannot be prepared without TensorFlow.
                    "image": tfds.features.Tensor(shape=(SIDE, SIDE, 3), dtype=np.uint8),
                    "photograph": tfds.features.Text(),
                    # Where in the halved photograph the patch begins.
                    "row": tfds.features.Scalar(np.int32),
                    "column": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://scikit-image.org/docs/stable/api/skimage.data.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {split: self._generate_examples(names) for split, names in SPLITS.items()}

    def _generate_examples(self, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in names:
            for row, column, patch in patches(halved(photograph(name))):
                example = {"image": patch, "photograph": name, "row": row, "column": column}
                yield f"{name}_{row}_{column}", example


def photograph(name: str) -> np.ndarray:
    """The photograph, uint8 `[H, W, 3]`.

    Raises:
        ModuleNotFoundError: without the package that carries it.
        FileNotFoundError: if this version of the package carries it no more.
    """
    from PIL import Image

    package, file = FILES[name]
    with resources.files(package).joinpath(file).open("rb") as stream:
        return np.asarray(Image.open(stream).convert("RGB"))


def halved(image: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, C]` -> `[H // 2, W // 2, C]`, the rounded means of 2 x 2 pixels."""
    height, width, channels = image.shape[0] // 2, image.shape[1] // 2, image.shape[2]
    blocks = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)


def patches(image: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """(row, column, patch `[32, 32, C]`) every 7 pixels of `[H, W, C]`, unless it is flat."""
    height, width, _ = image.shape
    for row in range(0, height - SIDE + 1, STRIDE):
        for column in range(0, width - SIDE + 1, STRIDE):
            patch = image[row : row + SIDE, column : column + SIDE]
            if patch.std(axis=(0, 1)).mean() >= FLAT:
                yield row, column, patch
