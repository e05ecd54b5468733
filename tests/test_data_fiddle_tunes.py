"""fiddle_tunes: pitches, meters and bar lines of a few tunes, and the split between them."""

import sys

import numpy as np
import pytest

import aejax
from aejax import load_dataset
from aejax.data.builders import fiddle_tunes
from aejax.data.builders.fiddle_tunes import field, melody_windows
from aejax.music.tokens import TOKENS, to_pitch

# G3 of a violin is MIDI 55; an octave of C major from middle C.
C, D, E, F, G, A, B, c = 60, 62, 64, 65, 67, 69, 71, 72


def tune(body, meter="4/4", unit="1/8", key="C"):
    return f"X:1\nT:Test\nM:{meter}\nL:{unit}\nR: Reel\nK:{key}\n{body}\n"


def steps(*pitches, each=2):
    """Tokens of notes of one length in sixteenths, 0 for a rest: Magenta's 2 is MIDI pitch 21."""
    begin = [pitch - 19 if pitch else 1 for pitch in pitches]
    return [token for first in begin for token in [first] + [0] * (each - 1)]


@pytest.fixture(autouse=True)
def needs_music21():
    pytest.importorskip("music21")


def test_eighths_of_two_bars_are_two_sixteenths_each():
    windows = melody_windows(tune("CDEF GABc | cBAG FEDC |"))
    assert windows.tolist() == [steps(C, D, E, F, G, A, B, c, c, B, A, G, F, E, D, C)]


def test_every_bar_line_begins_a_window_but_a_pickup_does_not():
    windows = melody_windows(tune("G2 | C4 D4 | E4 F4 | G4 A4 |"))
    first = steps(C, D, E, F, each=8)
    assert windows.tolist() == [first, steps(E, F, G, A, each=8)]


def test_four_bars_of_two_four_are_a_window():
    windows = melody_windows(tune("CDEF | GABc | cBAG | FEDC |", "2/4"))
    assert windows.tolist() == [steps(C, D, E, F, G, A, B, c, c, B, A, G, F, E, D, C)]


def test_no_window_goes_over_a_bar_that_is_not_whole():
    assert len(melody_windows(tune("C4 D4 | E4 F2 :|: G2 | A4 B4 |"))) == 0


def test_rests_end_notes_and_grace_notes_go_and_chords_give_their_highest():
    windows = melody_windows(tune("C4 z4 | {F}D4 [EG]4 |"))
    assert windows.tolist() == [steps(C, 0, D, G, each=8)]
    windows = melody_windows(tune("z4 C4 | D4 z2 z2 |"))  # two rests are one
    assert windows.tolist() == [steps(0, C, D, 0, each=8)]


def test_a_tied_note_begins_once_and_a_repeated_one_twice():
    windows = melody_windows(tune("C4 D4-|D4 E4 |"))
    assert windows.tolist() == [steps(C, each=8) + steps(D, each=16) + steps(E, each=8)]
    windows = melody_windows(tune("C4 D4|D4 E4 |"))
    assert windows.tolist() == [steps(C, D, D, E, each=8)]


def test_a_note_that_goes_on_over_the_first_bar_line_begins_there_anew():
    windows = melody_windows(tune("C4 D4-|D4 E4 | F8 |"))
    assert windows[1].tolist() == steps(D, E, each=8) + steps(F, each=16)


def test_triplets_begin_at_the_steps_they_reach():
    windows = melody_windows(tune("(3CDE F2 G4 | C8 |"))  # thirds of four steps: 0, 4/3, 8/3
    expected = [C - 19, 0, D - 19, E - 19, *steps(F, each=4), *steps(G, each=8), *steps(C, each=16)]
    assert windows.tolist() == [expected]


def test_keys_and_accidentals():
    windows = melody_windows(tune("F4 ^G4 | =F4 c4 |", key="D"))
    assert to_pitch(windows)[0, ::8].tolist() == [66, 68, 65, 73]  # K:D has F sharp and C sharp


def test_a_repeated_or_constant_window_is_left_out():
    assert len(melody_windows(tune("C8 | C4 z2 C2 | C8 |"))) == 0
    assert len(melody_windows(tune("C4 D4 | C4 D4 | C4 D4 |"))) == 1


def test_a_known_tune_by_hand():
    """The 7th Regiment's Reel begins vA2(Ac) "4"eAc"0"e | ace"1"a ...: K:A, L:1/16, 2/4."""
    path = next(p for p in fiddle_tunes.tune_files() if p.stem == "7thRegimentReel")
    windows = melody_windows(path.read_text())
    a, c_sharp, e, high_a = 69, 73, 76, 81
    first_bar = [a, a, a, c_sharp, e, a, c_sharp, e]
    assert to_pitch(windows)[0, :12].tolist() == [*first_bar, high_a, c_sharp, e, high_a]
    assert windows[0, :4].tolist() == [a - 19, 0, a - 19, c_sharp - 19]  # vA2(Ac)


def test_pitches_are_music21s_own():
    from music21 import converter

    path = next(p for p in fiddle_tunes.tune_files() if p.stem == "7thRegimentReel")
    measures = converter.parse(path, format="abc").parts[0].getElementsByClass("Measure")
    held = []
    for measure in measures[:4]:
        for note in measure.notes:
            held += [note.pitch.midi] * int(4 * note.quarterLength)
    assert to_pitch(melody_windows(path.read_text()))[0].tolist() == held


def test_what_tokens_sound():
    """0 goes on, 1 ends, 2 to 89 begin the MIDI pitches 21 to 108; before any, nothing sounds."""
    tokens = np.array([[0, 41, 0, 1, 0, 2], [89, 0, 0, 0, 41, 0]], np.int32)
    pitch = to_pitch(tokens)
    assert pitch.tolist() == [[0, 60, 60, 0, 0, 21], [108, 108, 108, 108, 60, 60]]
    assert pitch.dtype == np.int32
    assert TOKENS == 90


def test_fields_of_the_header():
    text = tune("CDEF", "C|")
    assert [field(text, letter) for letter in ("M", "R", "Z")] == ["C|", "Reel", ""]


def scale(root, *, meter="4/4"):
    """A tune of two windows; no other root has its notes."""
    return tune(f"{root}4 {root}4 | {root}2 c2 {root}4 | {root}8 |", meter)


@pytest.fixture
def few_tunes(monkeypatch, tmp_path):
    """Six tunes in the place of the collection; the last is the fifth's twin, one is a jig."""
    tunes = {
        **{f"{i}{root}": scale(root) for i, root in enumerate("CDEFG")},
        "5jig": tune("ABA ABA | BAB BAB |", "6/8"),
        "6G": scale("G"),
    }
    for name, text in tunes.items():
        (tmp_path / f"{name}.abc").write_text(text)
    monkeypatch.setattr(fiddle_tunes, "tune_files", lambda: sorted(tmp_path.glob("*.abc")))
    return str(tmp_path / "tfds")


def test_every_fifth_tune_is_for_testing_and_nothing_of_it_for_training(few_tunes):
    train = load_dataset("fiddle_tunes", "train", few_tunes)
    test = load_dataset("fiddle_tunes", "test", few_tunes)
    assert train["x"].dtype == np.int32
    assert train.spec["x"].shape == test.spec["x"].shape == (32,)
    roots = {int(pitch) for pitch in to_pitch(train["x"])[:, 0]}
    assert roots == {C, D, E, F}  # G's twin went with it, and the jig is in another meter
    assert {int(pitch) for pitch in to_pitch(test["x"])[:, 0]} == {G}
    assert (len(train), len(test)) == (8, 2)
    assert {train.label_names[label] for label in train.labels} == {"reel"}
    assert "tensorflow" not in sys.modules


def test_a_window_is_of_one_tune(few_tunes):
    windows = to_pitch(load_dataset("fiddle_tunes", "train", few_tunes)["x"])
    assert all(set(window) <= {window[0], c} for window in windows)


def test_the_tune_of_each_window_is_kept(few_tunes):
    import tensorflow_datasets as tfds

    load_dataset("fiddle_tunes", "test", few_tunes)
    builder = tfds.builder("fiddle_tunes", data_dir=few_tunes, file_format="array_record")
    assert {record["tune"] for record in builder.as_data_source("test")} == {b"4G"}


def test_without_music21_it_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(aejax.UsageError, match=r"needs music21: pip install 'aejax\[music\]'"):
        load_dataset("fiddle_tunes", "train", str(tmp_path / "tfds"))
