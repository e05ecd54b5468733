"""chorales: windows of Bach's four-part chorales, which music21 carries, as a TFDS data set.

Two bars of 4/4 in the tokens of `aejax.music.tokens`, soprano, alto, tenor and bass. Chorales on
one melody are all for training or all for testing (`aejax.music.melodies`).
"""

from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from aejax.data.builders.tune_windows import TuneWindows
from aejax.music.chorales import VOICES, chords, read_chorales
from aejax.music.melodies import Melody
from aejax.music.windows import STEPS

BARS = 2
_BEATS = 4 * BARS


class Chorales(TuneWindows):
    """Four voices; "chord" is the set of pitch classes that sound on each beat."""

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

    def tunes(self) -> list[Melody]:
        """The chorales."""
        return read_chorales(BARS)

    def arrays(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        """The voices and their chords."""
        return {"x": tokens, "chord": chords(tokens)}
