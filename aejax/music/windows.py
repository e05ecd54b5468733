"""Windows of whole bars: what a model of short melodies is shown."""

import itertools
from collections.abc import Iterator, Sequence
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
        tokens: int32 `[16 * bars]`, or `[V, 16 * bars]` of several voices.
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
    windows, reason = score_windows([bars], count)
    return Windows(tuple(Window(bar, tokens[0]) for bar, tokens in windows), reason)


def score_windows(voices: Sequence[list[Bar]], count: int) -> Windows:
    """The same of several voices: tokens `[V, 16 * count]`. A voice alone may be silent."""
    parts = [whole_bars(bars) for bars in voices]
    lengths = [len(run) for run in parts[0]]
    if any([len(run) for run in part] != lengths for part in parts):
        return Windows((), "with bars that differ between the voices")
    found: dict[bytes, Window] = {}
    for first, *runs in zip(itertools.accumulate(lengths, initial=0), *parts, strict=False):
        of_voices = [_windows_of(run, count) for run in runs]
        for start in sorted(set.intersection(*map(set, of_voices))):
            tokens = np.stack([windows[start] for windows in of_voices])
            if tokens.max() > NOTE_OFF:
                found.setdefault(tokens.tobytes(), Window(first + start, tokens))
    return Windows(tuple(found.values()), "" if found else _reason(lengths, count))


def _reason(lengths: list[int], count: int) -> str:
    """Why runs of so many whole bars give no window."""
    if not any(lengths):
        return "without a whole bar of 16 steps"
    if sum(lengths) < count:
        return "too short"
    return "off the grid of sixteenths" if max(lengths) >= count else "with odd bars between"


def _windows_of(run: list[tuple[Note, ...]], count: int) -> dict[int, np.ndarray]:
    """The tokens of each window on the grid, by its first bar."""
    found = {}
    steps = on_steps(itertools.chain(*run), STEPS * len(run))
    off_grid = {int(time // STEPS) for time in steps.off_grid}
    for start in range(len(run) - count + 1):
        if off_grid.isdisjoint(range(start, start + count)):
            tokens = steps.tokens[STEPS * start : STEPS * (start + count)].copy()
            if tokens[0] == HOLD:
                tokens[0] = steps.sounding[STEPS * start]
            found[start] = tokens
    return found


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
