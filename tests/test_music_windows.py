"""Windows: which bars are whole, where windows begin, and why a tune has none."""

import numpy as np

from aejax.music.abc_book import tunes_of
from aejax.music.abc_reader import read_tune
from aejax.music.notes import played
from aejax.music.windows import tune_windows

C, D, E, F, G, A, B, c = 60, 62, 64, 65, 67, 69, 71, 72


def windows_of(body, count=2, meter="4/4"):
    (tune,) = tunes_of(f"X:1\nM:{meter}\nL:1/8\nK:C\n{body}\n")
    return tune_windows(played(read_tune(tune)), count)


def tokens(body, **options):
    return [window.tokens.tolist() for window in windows_of(body, **options).found]


def steps(*pitches, each):
    """Tokens of notes of one length in sixteenths, None for a rest: Magenta's 2 is MIDI 21."""
    return [t for p in pitches for t in [p - 19 if p else 1] + [0] * (each - 1)]


def test_a_window_begins_at_every_bar():
    found = windows_of("C4 D4 | E4 F4 | G4 A4 |").found
    assert [window.bar for window in found] == [0, 1]
    assert found[0].tokens.tolist() == steps(C, D, E, F, each=8)
    assert found[1].tokens.tolist() == steps(E, F, G, A, each=8)
    assert found[0].tokens.dtype == np.int32


def test_a_pick_up_is_left_out_and_the_last_bar_filled_up():
    (window,) = tokens("G2 | C4 D4 | E6 |")
    assert window == [*steps(C, D, each=8), *steps(E, each=12), *steps(None, each=4)]


def test_the_end_of_a_part_and_the_next_ones_pick_up_are_a_bar():
    assert tokens("G4 | C4 D4 | E4 :| c4 | F8 | A4 |")[0] == steps(C, D, E, G, each=8)
    # c2 fills nothing: what follows begins anew.
    found = windows_of("G4 | C4 D4 | E4 :| c2 | F8 | A4 |").found
    assert [window.bar for window in found] == [0, 1, 3]
    assert found[2].tokens.tolist() == steps(F, each=16) + steps(A, None, each=8)


def test_an_odd_bar_breaks_the_run():
    assert tokens("C8 | D8 C2 | E8 |") == []
    assert windows_of("C8 | D8 C2 | E8 |").reason == "with odd bars between"
    found = windows_of("C8 | D8 | E8 C2 | F8 | G8 |").found
    assert [window.bar for window in found] == [0, 2]


def test_two_bars_of_two_four_are_one():
    body = "C4 | D4 | E4 | F4 | G4 | A4 | B4"
    assert tokens(body, meter="2/4") == [
        steps(C, D, E, F, each=8),
        steps(E, F, G, A, each=8),
    ]
    # Counted anew after an odd bar.
    assert tokens("C4 | C6 | D4 | E4 | F4 | G4", meter="2/4") == [steps(D, E, F, G, each=8)]


def test_a_window_that_starts_in_a_held_note_or_rest_begins_it_anew():
    found = tokens("C4 D4-|D4 z4 | z4 C4 | C8")
    assert found[0] == steps(C, each=8) + steps(D, each=16) + steps(None, each=8)
    assert found[1] == steps(D, each=8) + steps(None, each=16) + steps(C, each=8)
    assert found[2] == steps(None, C, each=8) + steps(C, each=16)


def test_onsets_between_two_steps_leave_a_window_out_and_no_other():
    found = windows_of("C8 | D8 | (3CDE z6 | E8 | F8 | ").found
    assert [window.bar for window in found] == [0, 3]
    assert windows_of("C8 | (3CDE z6 |").reason == "off the grid of sixteenths"
    assert len(windows_of("C8 | D8 | C/4D/4C3/2 z6 |").found) == 1


def test_each_window_once_and_none_without_a_note():
    assert len(tokens("C8 | C8 | C8 | C8 |")) == 1
    assert len(tokens("C8 | z8 | z8 | z8 |")) == 1


def test_why_there_is_none():
    assert windows_of("C4 |").reason == "without a whole bar of 16 steps"
    assert windows_of("C8 | D8 |", count=16).reason == "too short"
    assert windows_of("C3 | D3 |", meter="3/8").reason == "without a whole bar of 16 steps"


def test_sixteen_bars_with_repeats_played_out():
    body = "|: C8 | D8 | E8 | F8 | G8 | A8 | B8 | c8 :|"
    (window,) = windows_of(body, count=16).found
    assert window.tokens.tolist() == steps(*[C, D, E, F, G, A, B, c] * 2, each=16)
