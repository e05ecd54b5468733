"""Pictures of melodies."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_STRINGS = range(55, 128, 7)  # G3, D4, A4, E5: a violin's open strings, and fifths above
_BAR = 16  # sixteenth notes of a bar of 4/4


def melodies(pitches: np.ndarray, reconstructed: np.ndarray, columns: int = 3) -> Figure:
    """Melodies in MIDI pitch, `[N, T]` sixteenth notes, a panel each, their reconstructions on top.

    The lines across are a violin's open strings and the fifths above them.
    """
    rows = -(-len(pitches) // columns)
    figure = Figure(figsize=(2.7 * columns, 1.5 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    edges = np.arange(pitches.shape[1] + 1)
    for axes, tune, copy in zip(panels, pitches, reconstructed, strict=False):
        lines = (
            axes.stairs(tune, edges, baseline=None, color="0.65", linewidth=2.2),
            axes.stairs(copy, edges, baseline=None, color="tab:red", linewidth=1.2),
        )
    for axes in panels[: len(pitches)]:
        _staff(axes, edges[-1], np.concatenate([pitches.ravel(), np.ravel(reconstructed)]))
    for axes in panels[len(pitches) :]:
        axes.set_visible(False)
    figure.legend(
        lines, ("tune", "reconstruction"), loc="outside upper right", ncols=2, frameon=False
    )
    figure.supxlabel("sixteenth notes", fontsize=10)
    return figure


def _staff(axes: Any, steps: int, pitches: np.ndarray) -> None:
    """Named lines across and bar lines, around the range of the pitches."""
    low, high = pitches.min() - 2, pitches.max() + 2
    shown = [pitch for pitch in _STRINGS if low <= pitch <= high]
    axes.set(xlim=(0, steps), ylim=(low, high), xticks=range(0, steps + 1, _BAR // 2))
    axes.set_yticks(shown, [note_name(pitch) for pitch in shown])
    axes.tick_params(length=0, labelsize=8)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    for bar in range(_BAR, steps, _BAR):
        axes.axvline(bar, color="0.8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def note_name(pitch: int) -> str:
    """The name of a MIDI pitch: 60 is C4, middle C."""
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"
