"""Melodies as sound: a small additive synthesiser."""

import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from aejax.music.spans import Span, spans

RATE = 22_050  # samples a second
_PARTIALS = 0.55 ** np.arange(8)  # strengths of the fundamental and what is above it
_ATTACK, _RELEASE, _DECAY = 0.008, 0.06, 1.2  # seconds


def synthesised(tokens: np.ndarray, tempo: float = 120.0) -> np.ndarray:
    """A melody as sound, float32 in [-1, 1], `RATE` samples a second, with a tail that dies away.

    Args:
        tokens: `[T]` sixteenths, or `[R, T]` of R tracks that sound together.
        tempo: quarters a minute.
    """
    step = 15 / tempo
    tracks = tokens.reshape(-1, tokens.shape[-1])
    sound = np.zeros(round((tokens.shape[-1] * step + 4 * _RELEASE) * RATE), np.float32)
    for note in (note for track in tracks for note in spans(track)):
        heard = tone(note, step)
        start = round(note.start * step * RATE)
        sound[start : start + len(heard)] += heard[: len(sound) - start]
    return sound / max(1.0, float(np.abs(sound).max(initial=0)))


def tone(note: Span, step: float) -> np.ndarray:
    """A note's sound from its beginning on: partials, the higher the sooner gone.

    Args:
        note: its pitch and steps.
        step: seconds.
    """
    length = (note.end - note.start) * step
    time = np.arange(round((length + 4 * _RELEASE) * RATE))[:, None] / RATE
    number = 1 + np.arange(len(_PARTIALS))[None]
    frequency = 440 * 2 ** ((note.pitch - 69) / 12) * number
    strength = np.where(frequency < RATE / 2, _PARTIALS[None], 0) / _PARTIALS.sum()
    decayed = strength * np.exp(-time * number**0.5 / _DECAY)
    waves = np.sum(decayed * np.sin(2 * np.pi * frequency * time), axis=1)
    over = np.maximum(time[:, 0] - length, 0)
    return (0.5 * waves * np.minimum(time[:, 0] / _ATTACK, 1) * np.exp(-over / _RELEASE)).astype(
        np.float32
    )


def write_wav(path: str | Path, melodies: Iterable[np.ndarray], tempo: float = 120.0) -> None:
    """Writes melodies one after the other as a WAV file of 16 bits; see `synthesised`."""
    sound = np.concatenate([synthesised(tokens, tempo) for tokens in melodies])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((32767 * sound).astype("<i2").tobytes())
