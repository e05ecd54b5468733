"""Tokens as notes that have a beginning and an end."""

from typing import NamedTuple

import numpy as np

from aejax.music.tokens import HOLD, to_pitch


class Span(NamedTuple):
    """A note: its MIDI pitch, its first step, and the step at which it is over."""

    pitch: int
    start: int
    end: int


def spans(tokens: np.ndarray) -> list[Span]:
    """The notes of a melody, tokens `[T]`."""
    sounding = to_pitch(tokens[None])[0]
    begins = np.flatnonzero((tokens != HOLD) | (np.arange(len(tokens)) == 0))
    ends = [*begins[1:].tolist(), len(tokens)]
    found = zip(begins.tolist(), ends, strict=True)
    return [Span(int(sounding[a]), a, b) for a, b in found if sounding[a]]
