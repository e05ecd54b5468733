"""Pictures of melodies as piano rolls."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aejax.music.spans import Span, spans

_BAR = 16  # steps
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")


def piano_rolls(rows: Mapping[str, np.ndarray]) -> Figure:
    """Rows of melodies, a named row each and a panel a melody; lines across are the Cs.

    Args:
        rows: tokens `[N, T]`, or `[N, R, T]` of R tracks, which have a colour each.
    """
    tracks = {n: x.reshape(len(x), -1, x.shape[-1]) for n, x in rows.items()}
    found = {n: [[spans(track) for track in one] for one in x] for n, x in tracks.items()}
    columns, steps = max(map(len, rows.values())), next(iter(rows.values())).shape[-1]
    width = 1.2 + 0.05 * min(steps, 128)
    figure = Figure(figsize=(width * columns + 0.6, 1.3 * len(rows) + 0.3), layout="constrained")
    panels = figure.subplots(len(rows), columns, sharex=True, sharey=True, squeeze=False)
    for (name, melodies), line in zip(found.items(), panels, strict=True):
        line[0].set_ylabel(name, fontsize=9)
        for axes, melody in zip(line, melodies, strict=False):
            for notes, colour in zip(melody, _COLOURS * len(melody), strict=False):
                _draw(axes, notes, colour)
    every = [note.pitch for x in found.values() for one in x for t in one for note in t]
    for axes in panels.ravel():
        _keyboard(axes, steps, min(every, default=60), max(every, default=72))
    return figure


def _draw(axes: Any, notes: list[Span], colour: str) -> None:
    """The notes as bars, a little apart."""
    starts = [note.start for note in notes]
    lengths = [note.end - note.start - 0.15 for note in notes]
    axes.barh([note.pitch for note in notes], lengths, 0.9, starts, align="center", color=colour)


def _keyboard(axes: Any, steps: int, low: int, high: int) -> None:
    """Bar lines, and a named line at every C."""
    octaves = [pitch for pitch in range(0, 128, 12) if low - 2 <= pitch <= high + 2]
    axes.set(xlim=(0, steps), ylim=(low - 2, high + 2), xticks=range(0, steps + 1, _BAR))
    axes.set_xticklabels([])
    axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves], fontsize=7)
    axes.tick_params(length=0)
    axes.grid(color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
