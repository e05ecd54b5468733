"""What the data sets of windows of tunes share."""

import abc
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from aejax.music.melodies import Melody, parted


class TuneWindows(tfds.core.GeneratorBasedBuilder, abc.ABC):
    """An example a window; variants of a tune are all for training or all for testing."""

    VERSION = tfds.core.Version("1.0.0")
    BESIDE: ClassVar[tuple[str, ...]] = ("tune", "bar")

    @abc.abstractmethod
    def tunes(self) -> list[Melody]:
        """The tunes with their windows, read anew."""

    def arrays(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        """What an example has beside its tune and its bar, of a window's tokens."""
        return {"x": tokens}

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        training, testing = parted(self.tunes())
        found = [m.name for m in (*training, *testing) if m.windows.found]
        self.info.features["tune"].names = sorted(found)
        return {
            "train": self._generate_examples(training),
            "test": self._generate_examples(testing),
        }

    def _generate_examples(self, tunes: Sequence[Melody]) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, _, windows in tunes:
            for bar, tokens in windows.found:
                yield f"{name}-{bar}", self.arrays(tokens) | {"tune": name, "bar": bar}
