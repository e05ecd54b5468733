"""Melodies left as files that can be heard."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aejax.music.midi import write_midi
from aejax.music.synthesis import write_wav
from aejax.music.tokens import HOLD, NOTE_OFF, tokens_to_notes


def leave_music(path: Path, melodies: np.ndarray, tempo: float = 120.0) -> Iterator[Path]:
    """Writes melodies one after the other as MIDI and as sound, and says where.

    Args:
        path: of the files, without their suffixes.
        melodies: tokens `[N, T]`, or `[N, R, T]` of R tracks.
        tempo: quarters a minute.
    """
    tracks = melodies.reshape(len(melodies), -1, melodies.shape[-1])
    midi, sound = path.with_name(path.name + ".mid"), path.with_name(path.name + ".wav")
    write_midi(midi, *(tokens_to_notes(joined(t)) for t in tracks.swapaxes(0, 1)), tempo=tempo)
    yield midi
    write_wav(sound, tracks, tempo)
    yield sound


def joined(melodies: np.ndarray) -> np.ndarray:
    """Melodies `[N, T]` as one, `[N T]`, of which none goes on with the last note of another."""
    apart = melodies.copy()
    apart[:, 0] = np.where(apart[:, 0] == HOLD, NOTE_OFF, apart[:, 0])
    return apart.ravel()
