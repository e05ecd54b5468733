"""Pictures that compare methods: lines, dots, and rows of images of which some are marked."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aejax.figures.rows import named_rows

Values = Sequence[float] | Sequence[Sequence[float]] | np.ndarray

_MARKERS = "osD^vPX<>*"
_MARK = "tab:orange"


def lines(
    panels: Mapping[str, Mapping[str, Values]],
    x: Sequence[float],
    xlabel: str,
    *,
    logarithmic: bool = False,
) -> Figure:
    """A panel a title, with a line a method: its values at `x` `[N]`.

    The values are `[N]`, or `[N, S]` of several seeds: their mean, and bars from the least to the
    greatest. With `logarithmic`, x is on such a scale and its values, if few, are the ticks.
    """
    figure = Figure(figsize=(3.4 * len(panels) + 0.9, 2.9), layout="constrained")
    for axes, (title, methods) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for index, (name, values) in enumerate(methods.items()):
            _with_range(axes, x, values, _MARKERS[index] + "-", name, markersize=4)
        axes.set(title=title, xlabel=xlabel)
        if logarithmic:
            axes.set_xscale("log")
            ticks = x[:: 1 + len(x) // 7]
            axes.set_xticks(ticks, [f"{value:.3g}" for value in ticks])
            axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def dots(values: Mapping[str, Values], groups: Sequence[str], ylabel: str, chance: float) -> Figure:
    """A column of dots a group, a colour a method; a line at `chance`.

    The values are `[groups]`, or `[groups, S]` of several seeds: their mean, and bars from the
    least to the greatest.
    """
    width = 0.5 + 0.06 * len(values)
    figure = Figure(figsize=(width * len(groups) + 3.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(chance, color="0.5", linewidth=0.8, linestyle="--", zorder=0)
    beside = np.linspace(-0.32, 0.32, len(values)) if len(values) > 1 else [0.0]
    for index, ((name, heights), shift) in enumerate(zip(values.items(), beside, strict=True)):
        places = np.arange(len(groups)) + shift
        _with_range(axes, places, heights, _MARKERS[index], name, markersize=5)
    axes.set_xticks(range(len(groups)), groups)
    if max(map(len, groups)) > 4:
        axes.tick_params("x", rotation=45)
    for edge in np.arange(len(groups) - 1) + 0.5:
        axes.axvline(edge, color="0.92", linewidth=0.8, zorder=0)
    axes.set(ylabel=ylabel, xlim=(-0.5, len(groups) - 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def _with_range(
    axes: Axes, x: Any, values: Values, form: str, label: str, *, markersize: float
) -> None:
    """The values `[N]` or their means over seeds `[N, S]`, and a bar of each one's range."""
    of_seeds = np.asarray(values, float).reshape(len(x), -1)
    mean = of_seeds.mean(axis=1)
    (line,) = axes.plot(x, mean, form, markersize=markersize, label=label)
    if of_seeds.shape[1] > 1:
        axes.vlines(x, of_seeds.min(axis=1), of_seeds.max(axis=1), line.get_color(), linewidth=1)


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
