"""Pictures that compare methods: lines, dots, and rows of images of which some are marked."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aejax.figures.rows import named_rows

_MARKERS = "osD^vPX"
_MARK = "tab:orange"


def lines(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    x: Sequence[float],
    xlabel: str,
    *,
    doubling: bool = False,
) -> Figure:
    """A panel a title, with a line a method: its values `[N]` at `x` `[N]`.

    With `doubling`, x is on a logarithmic scale and its values are the ticks.
    """
    figure = Figure(figsize=(3.4 * len(panels) + 0.9, 2.9), layout="constrained")
    for axes, (title, methods) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for index, (name, values) in enumerate(methods.items()):
            axes.plot(x, values, marker=_MARKERS[index], markersize=4, label=name)
        axes.set(title=title, xlabel=xlabel)
        if doubling:
            axes.set_xscale("log", base=2)
            axes.set_xticks(x, [f"{value:g}" for value in x])
            axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def dots(
    values: Mapping[str, Sequence[float]], groups: Sequence[str], ylabel: str, chance: float
) -> Figure:
    """A column of dots a group, a colour a method: its values `[groups]`; a line at `chance`."""
    figure = Figure(figsize=(0.5 * len(groups) + 3.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(chance, color="0.5", linewidth=0.8, linestyle="--", zorder=0)
    beside = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else [0.0]
    for index, ((name, heights), shift) in enumerate(zip(values.items(), beside, strict=True)):
        places = np.arange(len(groups)) + shift
        axes.plot(places, heights, _MARKERS[index], markersize=5, label=name)
    axes.set_xticks(range(len(groups)), groups)
    if max(map(len, groups)) > 4:
        axes.tick_params("x", rotation=45)
    for edge in np.arange(len(groups) - 1) + 0.5:
        axes.axvline(edge, color="0.92", linewidth=0.8, zorder=0)
    axes.set(ylabel=ylabel, xlim=(-0.5, len(groups) - 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def marked_rows(rows: Mapping[str, np.ndarray], marks: Mapping[str, np.ndarray]) -> Figure:
    """`named_rows` with a frame around the images `[N, H, W, C]` where the row's mark `[N]` is set.

    Raises:
        ValueError: if the rows differ in shape.
    """
    figure = named_rows(rows)
    _, height, width, _ = next(iter(rows.values())).shape
    for row, name in enumerate(rows):
        for column in np.flatnonzero(marks[name]):
            corner = (column * (width + 1), row * (height + 1))
            frame = Rectangle(
                corner, width - 1, height - 1, fill=False, edgecolor=_MARK, linewidth=1.5
            )
            figure.axes[0].add_patch(frame)
    return figure
