"""Melodies as tokens, numbered as Magenta numbers them (Roberts et al. 2018, arXiv 1803.05428).

0 holds what sounds, 1 ends a note, 2 to 89 begin the MIDI pitches 21 to 108, those of a piano.
"""

import numpy as np

HOLD, NOTE_OFF = 0, 1
LOWEST, HIGHEST = 21, 108
TOKENS = HIGHEST - LOWEST + 3
_OFFSET = LOWEST - 2  # of a pitch from its token


def to_token(pitch: int) -> int:
    """The token that begins a MIDI pitch."""
    return pitch - _OFFSET


def to_pitch(tokens: np.ndarray) -> np.ndarray:
    """Tokens `[N, T]` -> the MIDI pitch that sounds at each step, int32 `[N, T]`; 0 in silence."""
    steps = np.where(tokens == HOLD, 0, np.arange(tokens.shape[1]))
    begun = np.take_along_axis(tokens, np.maximum.accumulate(steps, axis=1), axis=1)
    return np.where(begun > NOTE_OFF, begun + _OFFSET, 0).astype(np.int32)
