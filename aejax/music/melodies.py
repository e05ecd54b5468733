"""Tunes with their windows, and their split into those for training and those for testing."""

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from aejax.music.kinship import clusters
from aejax.music.tokens import NOTE_OFF
from aejax.music.windows import Windows

_SHARE = 0.1  # of the tunes are for testing
_SEED = 0


class Melody(NamedTuple):
    """A tune with its windows.

    Attributes:
        name: such as `corpus/file#X`.
        pitches: of its notes, in the order that they are written in.
        windows: of so many bars.
    """

    name: str
    pitches: list[int]
    windows: Windows


def summary(melodies: Iterable[Melody]) -> Iterator[str]:
    """Of each folder a line: its windows, and why tunes are left out."""
    for folder, some in itertools.groupby(melodies, lambda m: m.name.rpartition("/")[0]):
        windows = [melody.windows for melody in some]
        left = Counter(w.reason for w in windows if w.reason)
        why = ", ".join(f"{count:,} {reason}" for reason, count in left.most_common())
        yield (
            f"{folder}: {sum(len(w.found) for w in windows):,} windows from "
            f"{len(windows) - left.total():,} of {len(windows):,} tunes"
            + (f"; left out: {why}" if why else "")
        )


def parted(melodies: Sequence[Melody]) -> tuple[list[Melody], list[Melody]]:
    """The tunes for training and those for testing, a tenth; variants of a tune are on one side.

    A window that a tune for testing has too, in whatever key, is left out of the others.
    """
    test = for_testing(clusters([melody.pitches for melody in melodies]))
    testing = [melody for melody, chosen in zip(melodies, test, strict=True) if chosen]
    heard = {in_one_key(window.tokens) for m in testing for window in m.windows.found}
    training = [
        melody._replace(windows=_without(melody.windows, heard))
        for melody, chosen in zip(melodies, test, strict=True)
        if not chosen
    ]
    counts = [sum(len(m.windows.found) for m in part) for part in (melodies, training, testing)]
    print(
        f"{counts[1]:,} windows for training and {counts[2]:,} for testing; left out of training: "
        f"{counts[0] - counts[1] - counts[2]:,} that are those of a test tune in some key",
        file=sys.stderr,
    )
    return training, testing


def for_testing(cluster: np.ndarray) -> np.ndarray:
    """Which tunes are for testing: whole clusters, at most a tenth of all, or one: bool `[N]`.

    Args:
        cluster: of each tune, int `[N]`.
    """
    sizes = np.bincount(cluster)
    wanted = max(1.0, _SHARE * len(cluster))
    chosen = np.zeros(len(sizes), bool)
    for number in np.random.default_rng(_SEED).permutation(len(sizes)):
        chosen[number] = (sizes * chosen).sum() + sizes[number] <= wanted
    return chosen[cluster]


def in_one_key(tokens: np.ndarray) -> bytes:
    """The same for a window of tokens `[T]` in every key."""
    begins = tokens > NOTE_OFF
    lowest = tokens.min(where=begins, initial=np.iinfo(np.int32).max)
    return np.where(begins, tokens - lowest + NOTE_OFF + 1, tokens).tobytes()


def _without(windows: Windows, heard: set[bytes]) -> Windows:
    return Windows(tuple(w for w in windows.found if in_one_key(w.tokens) not in heard))
