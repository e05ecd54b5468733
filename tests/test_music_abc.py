"""The ABC reader: each sign by hand, known tunes, and abc2midi on hundreds."""

import json
import random
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from aejax.music.abc_book import tunes_of
from aejax.music.abc_keys import key_signature
from aejax.music.abc_reader import read_tune
from aejax.music.corpora import DANCES, ESSEN, corpus_files
from aejax.music.notes import played
from aejax.music.windows import METERS

EXPECTED = json.loads(Path(__file__).with_name("music_expected.json").read_text())


def bars_of(body, meter="4/4", unit="1/8", key="C"):
    """The bars as they are written, of (pitch, sixteenths) each."""
    (tune,) = tunes_of(f"X:1\nT:Test\nM:{meter}\nL:{unit}\nK:{key}\n{body}\n")
    return [[(n.pitch, n.length) for n in bar.notes] for bar in read_tune(tune)]


def pitches(body, **header):
    return [[pitch for pitch, _ in bar] for bar in bars_of(body, **header)]


def lengths(body, **header):
    return [[length for _, length in bar] for bar in bars_of(body, **header)]


def order(body):
    """The bars' first notes in the order that they are played in."""
    (tune,) = tunes_of(f"X:1\nM:4/4\nL:1/1\nK:C\n{body}\n")
    return "".join("C D EF G A B"[bar.notes[0].pitch - 60] for bar in played(read_tune(tune)))


def test_pitches_octaves_and_lengths():
    assert pitches("C, C c c' B,, |") == [[48, 60, 72, 84, 47]]
    assert lengths("C C2 C/ C/2 C3/2 C// C/4 C0 |") == [[2, 4, 1, 1, 3, 0.5, 0.5, 0]]


@pytest.mark.parametrize(
    ("key", "altered"),
    [
        ("C", {}),
        ("G", {"F": 1}),
        ("F#m", {"F": 1, "C": 1, "G": 1}),
        ("Bb", {"B": -1, "E": -1}),
        ("A Dorian", {"F": 1}),
        ("Dmix % one sharp in the book", {"F": 1}),
        ("Gm", {"B": -1, "E": -1}),
        ("EMin", {"F": 1}),
        ("GM", {"F": 1}),
        ("Bphr", {"F": 1}),
        ("Dlyd", {"F": 1, "C": 1, "G": 1}),
        ("Hp", {"F": 1, "C": 1}),
        ("H", {"F": 1, "C": 1, "G": 1, "D": 1, "A": 1}),
        ("Es", {"B": -1, "E": -1, "A": -1}),
        ("D Phr ^f", {"B": -1, "E": -1, "F": 1}),
    ],
)
def test_keys(key, altered):
    assert key_signature(key) == altered


def test_accidentals_last_to_the_written_bar_line_in_their_octave():
    assert pitches("^F F f =F F | F ^^F __F |") == [[66, 66, 77, 65, 65], [65, 67, 63]]
    assert pitches("=F F | F |", key="G") == [[65, 65], [66]]
    # A line end at which the bar is full is a bar line, but no written one.
    assert pitches("^F4 G4\nF4 G4 | F4 |") == [[66, 67], [66, 67], [65]]


def test_a_line_end_within_a_bar_is_none():
    assert lengths("C4\nC4 | C8\nC4") == [[8, 8], [16], [8]]
    assert lengths("C8 C8\nC8") == [[16, 16, 16]]


def test_broken_rhythm_beside_marks():
    for body in ("C>D", "(C>.D)", 'C">"D'.replace('">"', '>"4"'), "C>(D", "C > D", "C>{g}D"):
        assert lengths(body) == [[3, 1]], body
    assert lengths("C<D C>>D C<<<D") == [[1, 3, 3.5, 0.5, 0.25, 3.75]]
    assert lengths("C->D") == lengths("C>-D") == [[3, 1]]


def test_what_says_nothing_of_pitch_or_length():
    plain = bars_of("C D E F |")
    for body in ("HC TD ~E .F |", 'vC"Am"D">"E uF |', "{B}C D{/cde} E F |", "!trill!C D E(F) y2 |"):
        assert bars_of(body) == plain, body
    assert bars_of("C D % E\nE F |") == plain
    assert bars_of("!C D E F !|") == plain  # a line break of old


def test_tuplets():
    assert lengths("(3CDE F") == [[Fraction(4, 3)] * 3 + [2]]
    assert lengths("(3C2D E") == [[Fraction(8, 3), Fraction(4, 3), Fraction(4, 3)]]
    assert lengths("(2CD", meter="6/8") == [[3, 3]]
    assert lengths("(3:2:2 C2D E") == [[Fraction(8, 3), Fraction(4, 3), 2]]
    assert lengths("(3{a}CDE ((3CDE F")[0][-1] == 2
    assert lengths("(5CDEFG") == [[Fraction(4, 5)] * 5]


def test_ties_are_one_note_and_slurs_are_two():
    assert bars_of("C2-C2 C-D |") == [[(60, 8), (60, 2), (62, 2)]]
    (tune,) = tunes_of("X:1\nM:4/4\nL:1/4\nK:C\nC2^F2-|F2F2|\n")
    second = read_tune(tune)[1].notes
    assert [(n.pitch, n.held) for n in second] == [(66, True), (65, False)]


def test_chords_rests_and_voices():
    assert bars_of("[CEG]2 z2 x | Z |") == [[(67, 4), (None, 4), (None, 2)], [(None, 16)]]
    assert bars_of("[C2E2]/ [^ce] c") == [[(64, 2), (76, 2), (73, 2)]]
    assert pitches("[V:1] C D |\n[V:2] E F |\n[V:1] G A |") == [[60, 62], [67, 69]]
    assert pitches("C D |\nV:2\nE F |") == [[60, 62]]


def test_changes_within_a_tune():
    assert pitches("F | [K:G] F |\nK:C\nF |") == [[65], [66], [65]]
    assert lengths("C |\nL:1/16\nC | [L:1/4] C |") == [[2], [1], [4]]
    (tune,) = tunes_of("X:1\nM:4/4\nL:1/4\nK:C\nC4 |[M:2/4] C2 |\nM:6/8\nC3|\n")
    assert [bar.full for bar in read_tune(tune)] == [16, 8, 12]


def test_a_line_such_as_g_and_a_repeat_is_music():
    assert pitches("C D |\nG:|\nA::\nP:B\nw: la la\nc |") == [[60, 62], [67], [69], [72]]


def test_a_missing_unit_comes_of_the_meter_and_not_of_the_tune_before():
    text = "X:1\nM:4/4\nL:1/4\nK:C\nC\n\nX:2\nM:2/4\nK:C\nC\n\nX:0003\nM:C|\nK:C\nC\n\njunk CDE |"
    tunes = list(tunes_of(text))
    assert [tune.number for tune in tunes] == ["1", "2", "0003"]
    assert [read_tune(tune)[0].notes[0].length for tune in tunes] == [4, 1, 2]
    assert all(len(read_tune(tune)) == 1 for tune in tunes)


def test_mail_residue_is_undone_and_natural_signs_are_not():
    assert bars_of("C =\nD |=20\n|=3DF F2 |", key="G") == bars_of("C D | =F F2 |", key="G")
    assert bars_of("=F2 =E2 |", key="G") == [[(65, 4), (64, 4)]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("C|D:|E|F:|", "CDCDEFEF"),
        ("|:C|D:|:E|F:|", "CDCDEFEF"),
        ("C|D::E|F:|", "CDCDEFEF"),
        ("C|D||E|F:|", "CDEFEF"),
        ("C|D|]E|F:|", "CDEFEF"),
        ("|:C|D||E|F:|G|", "CDEFCDEFG"),  # the sign counts more than the double line
        ("C|1D:|2E|]F:|", "CDCEFF"),
        ("|:C|[1D|E:|[2F|G||A:|", "CDECFGAA"),
        ("C|[1,2D:|[3E||", "CDCDCE"),
        ("C|[1-3D:|4E||", "CDCDCDCE"),
        ("C|1D|2E||F:|", "CDCEFF"),  # no sign, but another ending
        ("C|1D:|E|F:|", "CDCEFEF"),
        ("C[1D:|[2E||", "CDCE"),
    ],
)
def test_repeats_are_played_out(body, expected):
    assert order(body) == expected


def tunes_by_name(corpora):
    for path in corpus_files(corpora):
        for tune in tunes_of(path.read_text("utf-8", "replace")):
            yield f"{path.parent.name}/{path.stem}#{tune.number}", tune


@pytest.fixture(scope="module")
def dances():
    pytest.importorskip("music21")
    return dict(tunes_by_name(DANCES))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_first_bars_of_known_tunes(name, dances):
    """Onset, pitch and length of four bars, on which three other readers agree."""
    bars = read_tune(dances[name])
    bars = bars[1:] if bars[0].length < bars[0].full else bars
    for bar, expected in zip(bars[:4], EXPECTED[name], strict=True):
        onsets = [sum(n.length for n in bar.notes[:i]) for i in range(len(bar.notes))]
        found = [[t, n.pitch, n.length] for t, n in zip(onsets, bar.notes, strict=True)]
        assert found == expected


def heard(tune, folder):
    """(onset in sixteenths, highest pitch) of a tune without repeat signs, by abc2midi."""
    mido = pytest.importorskip("mido")
    body = re.sub(r'"[^"\n]*"|[T~.]', "", tune.body)  # it undoes a dot that a mark touches
    body = re.sub(r":*\|+[\]:]*[ ]*\d[\d,-]*|\[[ ]*\d[\d,-]*|::|:\||\|:", "|", body)
    unit, rules = f"L:{tune.unit / 16}", "%%propagate-accidentals octave"
    head = f"X:1\nT:Test\n{rules}\nM:{tune.meter}\n{unit}\nK:{tune.key}\n"
    (folder / "tune.abc").write_text(head + body + "\n")
    options = ["-NFNP", "-NFER", "-NGRA", "-NGUI", "-silent"]
    command = ["abc2midi", "tune.abc", "-o", "tune.mid", *options]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    file = mido.MidiFile(folder / "tune.mid")
    time, found = 0, []
    for message in mido.merge_tracks(file.tracks):
        time += message.time
        if message.type == "note_on" and message.velocity:
            onset = round(48 * 4 * time / file.ticks_per_beat) / 48
            if found and onset - found[-1][0] < 0.2:  # the notes of a chord, one after the other
                found[-1] = (found[-1][0], max(found[-1][1], message.note))
            else:
                found.append((onset, message.note))
    return found


def read(tune):
    """The same by ours."""
    time, last, found = Fraction(0), None, []
    for note in (note for bar in read_tune(tune) for note in bar.notes):
        if note.pitch is not None and not (note.held and note.pitch == last):
            found.append((float(time), note.pitch))
        time, last = time + note.length, note.pitch
    return found


def same(first, second):
    pairs = zip(first, second, strict=False)
    near = all(p == q and abs(s - t) < 0.06 for (s, p), (t, q) in pairs)
    return near and len(first) == len(second)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", [*DANCES, ESSEN])
def test_abc2midi_hears_the_same_notes(corpus, tmp_path):
    pytest.importorskip("music21")
    if shutil.which("abc2midi") is None:
        pytest.skip("needs abc2midi: apt-get install abcmidi")
    tunes = [tune for _, tune in tunes_by_name([corpus]) if tune.meter in METERS]
    chosen = random.Random(1).sample(tunes, 150)
    agree = [same(read(tune), heard(tune, tmp_path)) for tune in chosen]
    print(corpus, sum(agree), "of", len(agree))
    assert sum(agree) >= 0.96 * len(agree)
