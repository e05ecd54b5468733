"""MIDI files: what is written is read again, and which melody a file has."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aejax.music.midi import read_midi, write_midi
from aejax.music.notes import Note
from aejax.music.tokens import notes_to_tokens, tokens_to_notes

mido = pytest.importorskip("mido")

tokens = st.lists(st.one_of(st.just(0), st.integers(0, 89)), min_size=1, max_size=64).filter(
    lambda some: max(some) > 1
)


@given(tokens)
def test_tokens_are_the_same_after_a_file(tmp_path_factory, some):
    """But for a hold at the start, which is a rest, and a rest within a rest, which is none."""
    path = tmp_path_factory.getbasetemp() / "some.mid"
    notes = tokens_to_notes(np.array(some))
    write_midi(path, notes, tempo=97)
    found, meters = read_midi(path)
    assert found == notes
    assert meters == {"4/4"}
    assert len(notes_to_tokens(found)) == len(some)


def test_what_stands_in_the_file(tmp_path):
    path = tmp_path / "two.mid"
    high = [Note(72, Fraction(4)), Note(None, Fraction(2)), Note(74, Fraction(3, 2))]
    write_midi(path, high, [Note(48, Fraction(8)), Note(48, Fraction(8), held=True)], tempo=90)
    file = mido.MidiFile(path)
    assert len(file.tracks) == 2
    (tempo,) = [m.tempo for m in file.tracks[0] if m.type == "set_tempo"]
    assert mido.tempo2bpm(tempo) == pytest.approx(90, abs=0.01)
    beats = [
        (m.type, m.note, m.time / file.ticks_per_beat)
        for track in file.tracks
        for m in track
        if m.type.startswith("note_")
    ]
    assert beats == [
        ("note_on", 72, 0),
        ("note_off", 72, 1),
        ("note_on", 74, 0.5),
        ("note_off", 74, 0.375),
        ("note_on", 48, 0),
        ("note_off", 48, 4),
    ]
    assert file.length == pytest.approx(4 * 60 / 90, abs=1e-3)


def file_of(path, *tracks, ticks=96):
    """A file of (type, note, time, channel) messages."""
    file = mido.MidiFile(ticks_per_beat=ticks)
    for messages in tracks:
        track = file.add_track()
        for kind, note, time, channel in messages:
            track.append(mido.Message(kind, note=note, time=time, channel=channel, velocity=64))
    file.save(path)
    return path


def test_the_first_track_with_notes_that_are_no_drums(tmp_path):
    drums = [("note_on", 40, 0, 9), ("note_off", 40, 24, 9)]
    low = [("note_on", 50, 0, 2), ("note_on", 90, 0, 3), ("note_off", 50, 24, 2)]
    other = [("note_on", 60, 0, 0), ("note_off", 60, 24, 0)]
    path = file_of(tmp_path / "a.mid", [], drums, low, other)
    assert read_midi(path).notes == [Note(50, Fraction(1))]
    assert read_midi(file_of(tmp_path / "b.mid", drums)).notes == []


def test_the_highest_of_those_that_begin_together_until_the_next_begins(tmp_path):
    chord = [("note_on", 60, 0, 0), ("note_on", 67, 1, 0), ("note_on", 64, 1, 0)]
    then = [("note_on", 62, 46, 0), ("note_off", 67, 10, 0), ("note_off", 62, 14, 0)]
    found = read_midi(file_of(tmp_path / "a.mid", chord + then)).notes
    assert found == [Note(67, Fraction(2)), Note(62, Fraction(1))]


def test_times_are_those_of_the_nearest_sixteenth(tmp_path):
    played = [("note_on", 60, 22, 0), ("note_off", 60, 3, 0), ("note_on", 62, 45, 0)]
    found = read_midi(file_of(tmp_path / "a.mid", [*played, ("note_off", 62, 40, 0)])).notes
    rests = [Note(None, Fraction(1)), Note(None, Fraction(1))]
    assert found == [rests[0], Note(60, Fraction(1)), rests[1], Note(62, Fraction(2))]


def test_notes_that_no_piano_has_are_left_out(tmp_path):
    played = [("note_on", 120, 0, 0), ("note_off", 120, 24, 0), ("note_on", 60, 0, 0)]
    found = read_midi(file_of(tmp_path / "a.mid", [*played, ("note_off", 60, 24, 0)])).notes
    assert found == [Note(None, Fraction(1)), Note(60, Fraction(1))]
