"""Scatters and curves."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator


def latent_scatter(codes: np.ndarray, labels: np.ndarray, label_names: Sequence[str]) -> Figure:
    """Codes `[N, D]` coloured by class; their first two principal components where D > 2."""
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    points, names = _plane(codes)
    scatter_classes(axes, points, labels, label_names)
    if label_names and len(label_names) <= 20:
        axes.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=2.5, fontsize=8
        )
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def curves(
    history: Sequence[dict[str, Any]], names: Sequence[str], unit: str = "nats per example"
) -> Figure:
    """Training (thin), validation and test (thick) curves over epochs, a panel a metric.

    A split that no line is of has no curve; one of a single line is a point.
    """
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for split, width in (("train", 1.0), ("validation", 1.8), ("test", 1.8)):
            lines = [record for record in history if record["split"] == split]
            if not lines:
                continue
            epochs, values = [r["epoch"] for r in lines], [r[name] for r in lines]
            marker = "o" if len(lines) == 1 else None
            axes.plot(epochs, values, linewidth=width, label=split, marker=marker)
        axes.set(title=name.replace("_", " "), xlabel="epoch", ylabel=unit)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def stability(scales: Sequence[float], shares: Sequence[float]) -> Figure:
    """The share of decodings that keep their class over the noise in the code, in deviations."""
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(scales, shares, marker="o", markersize=3.5, linewidth=1.8)
    axes.set(xlabel="sd of the noise / sd of the codes", ylabel="class unchanged", ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def information(kl: np.ndarray, sigma: np.ndarray) -> Figure:
    """How much each dimension of a latent carries over how noisy its posterior is.

    With E mean^2 = 1 - E sigma^2, a dimension whose codes over all the data have the prior's second
    moment, the KL to N(0, 1), 1/2 (sigma^2 + mean^2 - 1) - log sigma, averages to -E log sigma: the
    curve.

    Args:
        kl: `[D]`, averages over images, nats.
        sigma: `[D]`, the posterior's standard deviations, geometric means over images.
    """
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    x = np.geomspace(min(0.9 * float(sigma.min()), 0.5), 1.0, 200)
    axes.plot(x, -np.log(x), color="0.6", linewidth=1.2, label=r"$-\log\,\sigma$", zorder=1)
    axes.scatter(sigma, kl, s=22, linewidths=0, label="dimensions")
    axes.set(xlabel=r"$\sigma$, the noise in a dimension", ylabel="KL, nats", xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
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


def scatter_classes(
    axes: Any, points: np.ndarray, labels: np.ndarray, label_names: Sequence[str]
) -> None:
    """Points `[N, 2]` in the colours of their classes."""
    size = 10 if len(label_names) <= 10 else 20
    palette = matplotlib.colormaps[f"tab{size}"]
    for label in np.unique(labels):
        name = label_names[label] if label_names else None
        x, y = points[labels == label].T
        colour = palette(int(label) % size)
        axes.scatter(x, y, s=6, color=colour, label=name, linewidths=0, alpha=0.8)
