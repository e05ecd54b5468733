"""Melodies in other keys."""

import jax
import jax.numpy as jnp

from aejax.music.tokens import NOTE_OFF, TOKENS


def transposed(x: jax.Array, semitones: jax.Array) -> jax.Array:
    """Tokens `[B, ..., T]` with their pitches moved up by `[B]` semitones; the others stay."""
    return jnp.where(x > NOTE_OFF, x + _as_rows(semitones, x), x)


def within_range(x: jax.Array, semitones: jax.Array) -> jax.Array:
    """The semitones `[B]` by which tokens `[B, ..., T]` can be moved: no pitch leaves the piano."""
    rows = x.reshape(len(x), -1)
    lowest = jnp.min(jnp.where(rows > NOTE_OFF, rows, TOKENS - 1), axis=1)
    highest = jnp.max(jnp.where(rows > NOTE_OFF, rows, NOTE_OFF + 1), axis=1)
    return jnp.clip(semitones, NOTE_OFF + 1 - lowest, TOKENS - 1 - highest)


def turned_pitch_classes(chords: jax.Array, semitones: jax.Array) -> jax.Array:
    """Sets of pitch classes `[B, ..., 12]`, C first, moved up by `[B]` semitones."""
    source = (jnp.arange(12)[None] - semitones[:, None]) % 12
    source = jnp.broadcast_to(_as_rows(source, chords), chords.shape)
    return jnp.take_along_axis(chords, source, axis=-1)


def _as_rows(values: jax.Array, like: jax.Array) -> jax.Array:
    """`[B, ...]` with axes of one after the first, as many as `like` has in all."""
    further = (1,) * (like.ndim - values.ndim)
    return values.reshape(len(values), *further, *values.shape[1:])
