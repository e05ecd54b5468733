"""chorales: windows of Bach's four-part chorales, which music21 carries, as a TFDS data set.

Two bars of 4/4 in the tokens of `aejax.music.tokens`, soprano, alto, tenor and bass. Chorales on
one melody are all for training or all for testing (`aejax.music.melodies`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from aejax.music.chorales import VOICES, chords, read_chorales
from aejax.music.melodies import Melody, parted
from aejax.music.windows import STEPS

BARS = 2
_BEATS = 4 * BARS


class Chorales(tfds.core.GeneratorBasedBuilder):
    """Four voices; "chord" is the set of pitch classes that sound on each beat."""

    VERSION = tfds.core.Version("1.0.0")
    BESIDE: ClassVar[tuple[str, ...]] = ("chord", "tune", "bar")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=f"Windows of {BARS} bars of Bach's chorales in four voices.",
            features=tfds.features.FeaturesDict(
                {
                    "x": tfds.features.Tensor(shape=(VOICES, STEPS * BARS), dtype=np.int32),
                    "chord": tfds.features.Tensor(shape=(_BEATS, 12), dtype=np.float32),
                    "tune": tfds.features.ClassLabel(),  # its names come with the chorales
                    "bar": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://www.music21.org/music21docs/about/referenceCorpus.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        training, testing = parted(read_chorales(BARS))
        found = [m.name for m in (*training, *testing) if m.windows.found]
        self.info.features["tune"].names = sorted(found)
        return {
            "train": self._generate_examples(training),
            "test": self._generate_examples(testing),
        }

    def _generate_examples(
        self, chorales: Sequence[Melody]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, _, windows in chorales:
            for bar, tokens in windows.found:
                example = {"x": tokens, "chord": chords(tokens), "tune": name, "bar": bar}
                yield f"{name}-{bar}", example
