"""Melodies as sound, by their spectra and their silences."""

import wave

import numpy as np
import pytest

from aejax.music.playing import joined, leave_music
from aejax.music.spans import Span, spans
from aejax.music.synthesis import RATE, synthesised, tone, write_wav


def test_a_tone_has_its_pitch_and_harmonics():
    sound = tone(Span(69, 0, 8), 0.125)
    strength = np.abs(np.fft.rfft(sound[:RATE]))  # a bin a hertz
    assert np.argmax(strength) == 440
    for partial in (2, 3, 4):
        assert strength[440 * partial] > 20 * strength[440 * partial - 120]
        assert strength[440 * partial] < strength[440 * (partial - 1)]


def test_no_partial_is_above_half_of_the_rate():
    strength = np.abs(np.fft.rfft(tone(Span(108, 0, 8), 0.125)[:RATE]))
    frequencies = np.flatnonzero(strength > 0.1 * strength.max())
    assert set(np.round(frequencies / 4186)) <= {1, 2}


def test_a_melody_sounds_when_its_notes_do():
    step = 0.25  # at 60 quarters a minute
    sound = synthesised(np.array([1, 0, 49, 0, 1, 0, 0, 0]), tempo=60)
    assert len(sound) == round((8 * step + 0.24) * RATE)
    loud = [
        float(np.abs(sound[round(t * RATE) :][: RATE // 20]).max()) for t in (0.2, 0.6, 0.9, 1.6)
    ]
    assert loud[0] == 0
    assert min(loud[1:3]) > 0.1
    assert loud[3] < 0.01
    assert np.abs(np.diff(sound)).max() < 0.2  # no click


def test_tracks_sound_together_and_never_too_loud():
    tracks = np.array([[41, 0], [45, 0], [48, 0], [53, 0]])
    alone = [synthesised(track) for track in tracks]
    sound = synthesised(tracks)
    np.testing.assert_allclose(sound, sum(alone) / max(1, np.abs(sum(alone)).max()), atol=1e-6)
    assert np.abs(sound).max() <= 1


def test_files_hold_the_melodies_one_after_the_other(tmp_path):
    melodies = np.array([[41, 0, 0, 0], [0, 0, 43, 0]])
    write_wav(tmp_path / "a.wav", melodies)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        found = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    expected = np.concatenate([synthesised(melody) for melody in melodies])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert spans(joined(melodies)) == [Span(60, 0, 4), Span(62, 6, 8)]


def test_music_is_left_as_midi_and_sound(tmp_path):
    mido = pytest.importorskip("mido")
    voices = np.array([[[41, 0, 43, 0], [1, 0, 29, 0]]])
    left = list(leave_music(tmp_path / "tune_0.5", voices, tempo=90))
    assert [path.name for path in left] == ["tune_0.5.mid", "tune_0.5.wav"]
    file = mido.MidiFile(left[0])
    played = [[m.note for m in track if m.type == "note_on"] for track in file.tracks]
    assert played == [[60, 62], [48]]
    assert file.length == pytest.approx(4 * 60 / 90 / 4, rel=1e-3)
