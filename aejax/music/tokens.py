"""Melodies as tokens, numbered as Magenta numbers them (Roberts et al. 2018, arXiv 1803.05428).

0 holds what sounds, 1 ends a note, 2 to 89 begin the MIDI pitches 21 to 108, those of a piano. A
step is a sixteenth.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from aejax.music.notes import Note

HOLD, NOTE_OFF = 0, 1
LOWEST, HIGHEST = 21, 108
TOKENS = HIGHEST - LOWEST + 3
_OFFSET = LOWEST - 2  # of a pitch from its token


class Steps(NamedTuple):
    """A melody on the grid of sixteenths.

    Attributes:
        tokens: int32 `[T]`.
        sounding: the token that goes on or begins at each step, int32 `[T]`.
        off_grid: the times between two steps at which something begins.
    """

    tokens: np.ndarray
    sounding: np.ndarray
    off_grid: list[Fraction]


def to_token(pitch: int | None) -> int:
    """The token that begins a MIDI pitch, or a rest for None.

    Raises:
        ValueError: for a pitch that no piano has.
    """
    if pitch is None:
        return NOTE_OFF
    if not LOWEST <= pitch <= HIGHEST:
        raise ValueError(f"pitch {pitch} has no token: transpose it to {LOWEST} to {HIGHEST}")
    return pitch - _OFFSET


def to_pitch(tokens: np.ndarray) -> np.ndarray:
    """Tokens `[N, T]` -> the MIDI pitch that sounds at each step, int32 `[N, T]`; 0 in silence."""
    steps = np.where(tokens == HOLD, 0, np.arange(tokens.shape[1]))
    begun = np.take_along_axis(tokens, np.maximum.accumulate(steps, axis=1), axis=1)
    return np.where(begun > NOTE_OFF, begun + _OFFSET, 0).astype(np.int32)


def on_steps(notes: Iterable[Note], count: int) -> Steps:
    """Notes one after the other on `count` steps, from the first that begins something.

    A rest after a rest, and a held note after one of its pitch, go on. What begins between two
    steps sounds from the next on, and its time is said.
    """
    tokens, sounding = np.full(count, HOLD, np.int32), np.full(count, NOTE_OFF, np.int32)
    off_grid = []
    time, last = Fraction(0), HOLD
    for note in notes:
        token = to_token(note.pitch)
        if token != last or not (note.held or note.pitch is None):
            step = -int(-time // 1)
            tokens[step : step + 1], sounding[step:] = token, token
            off_grid += [time] if step != time else []
        time, last = time + note.length, token
    return Steps(tokens, sounding, off_grid)


def notes_to_tokens(notes: Sequence[Note]) -> np.ndarray:
    """Notes in whole sixteenths -> tokens int32 `[T]`, T the sum of their lengths.

    Raises:
        ValueError: if a note does not begin and end on the grid.
    """
    end = sum((note.length for note in notes), Fraction(0))
    steps = on_steps(notes, int(end))
    if steps.off_grid or end.denominator != 1:
        at = steps.off_grid[0] if steps.off_grid else end
        raise ValueError(f"{float(at):g} sixteenths is between two steps: round the notes first")
    return steps.tokens


def tokens_to_notes(tokens: np.ndarray) -> list[Note]:
    """Tokens `[T]` -> notes and rests in sixteenths; a hold at the start is a rest."""
    starts = [t for t, token in enumerate(tokens) if token != HOLD or t == 0]
    ends = [*starts[1:], len(tokens)]
    notes: list[Note] = []
    for start, end in zip(starts, ends, strict=True):
        pitch = int(tokens[start]) + _OFFSET if tokens[start] > NOTE_OFF else None
        if pitch is None and notes and notes[-1].pitch is None:
            notes[-1] = Note(None, notes[-1].length + end - start)
        else:
            notes.append(Note(pitch, Fraction(end - start)))
    return notes
