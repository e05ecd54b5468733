"""Windows of whole bars: what a model of short melodies is shown."""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from aejax.music.notes import Bar, Note
from aejax.music.tokens import HOLD, NOTE_OFF, on_steps

STEPS = 16  # a bar
METERS = ("4/4", "C", "C|", "2/2", "2/4", "4/8")  # whose bars, or two of them, are 16 sixteenths


class Window(NamedTuple):
    """So many bars of a tune.

    Attributes:
        bar: the number of its first one among the whole bars of the tune as it is played, from 0.
        tokens: int32 `[16 * bars]`.
    """

    bar: int
    tokens: np.ndarray


class Windows(NamedTuple):
    """The windows of a tune; why there are none, where there are none."""

    found: tuple[Window, ...]
    reason: str = ""


def tune_windows(bars: list[Bar], count: int) -> Windows:
    """The windows of `count` bars of 16 steps, one from each bar on, each only once.

    A window with an onset between two steps is left out, as is one without a note. One that starts
    in a held note, or a rest, begins it anew.

    Args:
        bars: as they are played.
        count: bars a window.
    """
    runs = whole_bars(bars)
    found: dict[bytes, Window] = {}
    for first, run in zip(itertools.accumulate(map(len, runs), initial=0), runs, strict=False):
        for start, tokens in _windows_of(run, count):
            if tokens.max() > NOTE_OFF:
                found.setdefault(tokens.tobytes(), Window(first + start, tokens))
    if found:
        return Windows(tuple(found.values()))
    if not any(runs):
        return Windows((), "without a whole bar")
    if sum(map(len, runs)) < count:
        return Windows((), "too short")
    long_enough = any(len(run) >= count for run in runs)
    return Windows((), "off the grid of sixteenths" if long_enough else "with odd bars between")


def _windows_of(run: list[tuple[Note, ...]], count: int) -> Iterator[tuple[int, np.ndarray]]:
    steps = on_steps(itertools.chain(*run), STEPS * len(run))
    off_grid = {int(time // STEPS) for time in steps.off_grid}
    for start in range(len(run) - count + 1):
        if off_grid.isdisjoint(range(start, start + count)):
            tokens = steps.tokens[STEPS * start : STEPS * (start + count)].copy()
            if tokens[0] == HOLD:
                tokens[0] = steps.sounding[STEPS * start]
            yield start, tokens


def whole_bars(bars: list[Bar]) -> list[list[tuple[Note, ...]]]:
    """The notes of bars of 16 steps, in runs that nothing else interrupts.

    Two bars of 8 steps are one, counted from the first after an interruption. See `_mended`.
    """
    runs: list[list[tuple[Note, ...]]] = [[]]
    half: Bar | None = None
    for bar in _mended(bars):
        whole = bar.length == bar.full
        if whole and bar.full == STEPS // 2:
            if half is not None:
                runs[-1].append(half.notes + bar.notes)
            half = bar if half is None else None
            continue
        if half is not None or not whole or bar.full != STEPS:
            runs.append([])
            half = None
        if whole and bar.full == STEPS:
            runs[-1].append(bar.notes)
    return runs


def _mended(bars: list[Bar]) -> Iterator[Bar]:
    """The first bar dropped if it is short, as a pick-up is, and the last filled up by a rest.

    Two short ones between, such as the end of a part and the next one's pick-up, are one bar if
    they fill it.
    """
    bars = bars[1:] if bars and bars[0].length < bars[0].full else bars
    index = 0
    while index < len(bars):
        bar = bars[index]
        missing = bar.full - bar.length
        index += 1
        if missing > 0 and index == len(bars):
            bar = _with(bar, (Note(None, missing),))
        elif missing > 0 and bars[index].length == missing and bars[index].full == bar.full:
            bar = _with(bar, bars[index].notes)
            index += 1
        yield bar


def _with(bar: Bar, notes: tuple[Note, ...]) -> Bar:
    return Bar(bar.notes + notes, Fraction(bar.full))
