"""Bach's chorales in four voices, which music21 carries as MusicXML."""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from aejax.music.corpora import corpus_folder
from aejax.music.melodies import Melody, summary
from aejax.music.notes import Bar, Note
from aejax.music.reading import in_processes
from aejax.music.tokens import to_pitch
from aejax.music.windows import Windows, score_windows

VOICES = 4
_BEAT = 4  # steps


def read_chorales(bars: int) -> list[Melody]:
    """The scores of four parts, soprano first, with their windows; `pitches` are the soprano's.

    Repeats are not played out. What becomes of the others is said.

    Raises:
        UsageError: if music21 or loky is not installed.
    """
    folder = corpus_folder("bach")
    files = sorted([*folder.glob("*.mxl"), *folder.glob("*.xml")])
    arguments = [(path, bars) for path in files]
    chorales = list(in_processes(chorale, arguments, "reading chorales"))
    for line in summary(chorales):
        print(line, file=sys.stderr)
    return [found for found in chorales if found.pitches]


def chorale(path: Path, bars: int) -> Melody:
    """One score; without pitches if it has not four parts."""
    from music21 import converter

    name = f"bach/{path.stem}"
    score: Any = converter.parse(path, forceSource=True, storePickle=False)
    if len(score.parts) != VOICES:
        return Melody(name, [], Windows((), "not of four parts"))
    voices = [list(_bars(part)) for part in score.parts]
    soprano = [note.pitch for bar in voices[0] for note in bar.notes if note.pitch is not None]
    return Melody(name, soprano, score_windows(voices, bars))


def _bars(part: Any) -> Iterator[Bar]:
    for measure in part.getElementsByClass("Measure"):
        full = Fraction(4 * measure.barDuration.quarterLength)
        elements = [e for e in measure.flatten().notesAndRests if not e.duration.isGrace]
        yield Bar(tuple(_note(element) for element in elements), full)


def _note(element: Any) -> Note:
    """Of a chord the highest note."""
    pitch = max(p.midi for p in element.pitches) if element.pitches else None
    held = element.tie is not None and element.tie.type in ("stop", "continue")
    return Note(pitch, Fraction(4 * element.quarterLength), held)


def chords(tokens: np.ndarray) -> np.ndarray:
    """Tokens `[V, T]` -> the pitch classes that sound at each quarter, float32 `[T / 4, 12]`."""
    pitch = to_pitch(tokens)[:, ::_BEAT]
    classes = np.arange(12)[:, None, None]
    sounds = (pitch % 12 == classes) & (pitch > 0)
    return sounds.any(axis=1).T.astype(np.float32)
