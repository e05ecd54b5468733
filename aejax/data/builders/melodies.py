"""melodies: windows of the tunes in ABC notation that music21 carries, as TFDS data sets.

Ryan's Mammoth Collection (Boston 1883), O'Neill's Music of Ireland (Chicago 1903) and Aird's
Selection (Glasgow 1782 to 1801): the tunes in meters whose bars fill 16 sixteenths, in the tokens
of `aejax.music.tokens`, repeats played out. A tenth of the tunes is for testing, and no variant of
one of them is for training (`aejax.music.melodies`).
"""

from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from aejax.data.builders.tune_windows import TuneWindows
from aejax.music.corpora import DANCES, ESSEN, read_melodies
from aejax.music.melodies import Melody
from aejax.music.windows import STEPS

_BOOKS = "Ryan's Mammoth Collection, O'Neill's Music of Ireland and Aird's Selection"
_ESSEN = "; and the Essen folk songs, which are for NON-COMMERCIAL use and distribution only"


class Melodies(TuneWindows):
    """Windows of two bars of the three books of dances."""

    BARS: ClassVar[int] = 2
    CORPORA: ClassVar[tuple[str, ...]] = DANCES

    def _info(self) -> tfds.core.DatasetInfo:
        essen = _ESSEN if ESSEN in self.CORPORA else ""
        return self.dataset_info_from_configs(
            description=f"Windows of {self.BARS} bars of {_BOOKS}{essen}.",
            features=tfds.features.FeaturesDict(
                {
                    "x": tfds.features.Tensor(shape=(STEPS * self.BARS,), dtype=np.int32),
                    "tune": tfds.features.ClassLabel(),  # its names come with the tunes
                    "bar": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://www.music21.org/music21docs/about/referenceCorpus.html",
        )

    def tunes(self) -> list[Melody]:
        """Those of the corpora."""
        return read_melodies(self.CORPORA, self.BARS)


class Melodies16(Melodies):
    """Windows of sixteen bars."""

    BARS = 16


class MelodiesAll(Melodies):
    """Windows of two bars, with the Essen folk songs: for non-commercial use alone."""

    CORPORA = (*DANCES, ESSEN)


class Melodies16All(MelodiesAll):
    """Windows of sixteen bars, with the Essen folk songs: for non-commercial use alone."""

    BARS = 16
