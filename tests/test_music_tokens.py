"""Tokens: their numbers, what they sound, and the way from notes to tokens and back."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aejax.music.notes import Note
from aejax.music.tokens import (
    TOKENS,
    notes_to_tokens,
    on_steps,
    to_pitch,
    to_token,
    tokens_to_notes,
)

melodies = st.lists(
    st.tuples(st.none() | st.integers(21, 108), st.integers(1, 20)), min_size=1, max_size=40
).map(lambda pairs: [Note(pitch, Fraction(length)) for pitch, length in pairs])


def test_magentas_numbers():
    assert (to_token(21), to_token(60), to_token(108), to_token(None)) == (2, 41, 89, 1)
    assert TOKENS == 90
    for pitch in (20, 109):
        with pytest.raises(ValueError, match=f"pitch {pitch} has no token"):
            to_token(pitch)


def test_notes_are_tokens_and_tokens_are_notes():
    notes = [Note(60, Fraction(4)), Note(60, Fraction(2)), Note(None, Fraction(1)), Note(21, 1)]
    tokens = [41, 0, 0, 0, 41, 0, 1, 2]
    assert notes_to_tokens(notes).tolist() == tokens
    assert tokens_to_notes(np.array(tokens)) == notes


def test_what_goes_on_is_held_and_what_begins_between_steps_is_said():
    held = [Note(60, Fraction(2)), Note(60, Fraction(2), held=True), Note(62, Fraction(1), True)]
    assert notes_to_tokens(held).tolist() == [41, 0, 0, 0, 43]
    third = Fraction(4, 3)
    steps = on_steps([Note(60, third), Note(62, third), Note(64, third), Note(65, Fraction(4))], 8)
    assert steps.off_grid == [third, 2 * third]
    assert steps.sounding.tolist() == [41, 41, 43, 45, 46, 46, 46, 46]
    with pytest.raises(ValueError, match=r"1\.33333 sixteenths is between two steps"):
        notes_to_tokens([Note(60, third), Note(62, 2 * third)])
    with pytest.raises(ValueError, match=r"1\.5 sixteenths is between"):
        notes_to_tokens([Note(60, Fraction(3, 2))])


@given(melodies)
def test_round_trip_of_notes(notes):
    tokens = notes_to_tokens(notes)
    back = tokens_to_notes(tokens)
    assert len(tokens) == sum(note.length for note in notes)
    np.testing.assert_array_equal(notes_to_tokens(back), tokens)
    sound = [pitch or 0 for pitch, length, _ in notes for _ in range(int(length))]
    assert to_pitch(tokens[None])[0].tolist() == sound
    assert [n for n in back if n.pitch] == [n for n in notes if n.pitch]


@given(st.lists(st.integers(0, TOKENS - 1), min_size=1, max_size=64))
def test_any_tokens_sound_as_their_notes(tokens):
    again = notes_to_tokens(tokens_to_notes(np.array(tokens)))
    assert to_pitch(again[None]).tolist() == to_pitch(np.array([tokens])).tolist()
