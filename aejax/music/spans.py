"""Tokens as notes that have a beginning and an end."""

from typing import NamedTuple

import numpy as np

from aejax.music.tokens import tokens_to_notes


class Span(NamedTuple):
    """A note: its MIDI pitch, its first step, and the step at which it is over."""

    pitch: int
    start: int
    end: int


def spans(tokens: np.ndarray) -> list[Span]:
    """The notes of a melody, tokens `[T]`."""
    found, time = [], 0
    for note in tokens_to_notes(tokens):
        end = time + int(note.length)
        if note.pitch is not None:
            found.append(Span(note.pitch, time, end))
        time = end
    return found
