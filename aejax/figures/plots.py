"""Scatters and curves."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure


def latent_scatter(codes: np.ndarray, labels: np.ndarray, label_names: Sequence[str]) -> Figure:
    """Codes `[N, D]` coloured by class; their first two principal components where D > 2."""
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    points, names = _plane(codes)
    size = 10 if len(label_names) <= 10 else 20
    palette = matplotlib.colormaps[f"tab{size}"]
    for label in np.unique(labels):
        chosen = labels == label
        name = label_names[label] if label_names else None
        x, y = points[chosen].T
        colour = palette(int(label) % size)
        axes.scatter(x, y, s=6, color=colour, label=name, linewidths=0, alpha=0.8)
    if label_names and len(label_names) <= 20:
        axes.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=2.5, fontsize=8
        )
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def curves(history: Sequence[dict[str, Any]], names: Sequence[str]) -> Figure:
    """Training (thin) and test (thick) curves over epochs, a panel a metric, in nats per image."""
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for split, width in (("train", 1.0), ("test", 1.8)):
            lines = [record for record in history if record["split"] == split]
            epochs, values = [r["epoch"] for r in lines], [r[name] for r in lines]
            marker = "o" if len(lines) == 1 else None
            axes.plot(epochs, values, linewidth=width, label=split, marker=marker)
        axes.set(title=name.replace("_", " "), xlabel="epoch", ylabel="nats per image")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def _plane(codes: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """Codes `[N, D]` -> points `[N, 2]` and the names of their axes."""
    if codes.shape[1] == 2:
        return codes, ("$z_1$", "$z_2$")
    if codes.shape[1] == 1:
        return np.pad(codes, ((0, 0), (0, 1))), ("$z_1$", "")
    centred = codes - codes.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    points = centred @ directions[:2].T
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    return points, ("first principal component", "second principal component")
