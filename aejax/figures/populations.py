"""Many models together: bands over seeds, rates and distortions."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def loss_bands(
    history: Sequence[dict[str, Any]], labels: Sequence[str], diverged: Sequence[bool]
) -> Figure:
    """The test or validation loss over epochs: the mean of one label's members, and their range.

    Args:
        history: lines with `epoch`, `split` and `loss`, a list of all members.
        labels: of each member; those of one label differ by their seeds.
        diverged: of each member, whether it is left out.
    """
    watched = next(line["split"] for line in history if line["split"] != "train")
    lines = [line for line in history if line["split"] == watched]
    epochs = [line["epoch"] for line in lines]
    losses = np.array([line["loss"] for line in lines])
    shown = [i for i, out in enumerate(diverged) if not out]
    groups = list(dict.fromkeys(labels[i] for i in shown))
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(groups)))
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for label, colour in zip(groups, colours, strict=True):
        members = losses[:, [i for i in shown if labels[i] == label]]
        axes.plot(epochs, members.mean(axis=1), color=colour, linewidth=1.6, label=label)
        if members.shape[1] > 1:
            low, high = members.min(axis=1), members.max(axis=1)
            axes.fill_between(epochs, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.set(xlabel="epoch", ylabel=f"{watched} loss, nats per example")
    axes.spines[["top", "right"]].set_visible(False)
    if len(groups) > 1:
        columns = -(-len(groups) // 8)
        axes.legend(frameon=False, fontsize=8 if columns == 1 else 6, ncols=columns)
    return figure


def rate_distortion(
    rates: Sequence[float], distortions: Sequence[float], active: Sequence[int]
) -> Figure:
    """Reconstruction error over KL, a point a member, coloured by its active units.

    Alemi et al. 2018 (arXiv 1711.00464), figure 1; the lines are of equal ELBO.
    """
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    order = np.argsort(rates)
    x, y = np.array(rates)[order], np.array(distortions)[order]
    axes.plot(x, y, color="0.8", linewidth=1, zorder=1)
    points = axes.scatter(x, y, c=np.array(active)[order], cmap="viridis", s=28, zorder=2)
    axes.autoscale(False)
    low, high = (x + y).min(), (x + y).max()
    for total in np.linspace(low, high, 5):
        ends = np.array(axes.get_xlim())
        axes.plot(ends, total - ends, color="0.9", linewidth=0.7, linestyle="--", zorder=0)
    figure.colorbar(points, label="active units", ticks=MaxNLocator(integer=True))
    axes.set(xlabel="rate: KL, nats", ylabel="distortion: reconstruction, nats")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
