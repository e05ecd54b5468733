"""Pictures of codes: in the plane, of their activity, as maps, beside the prior."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from aejax.figures.grids import bare_figure, tile
from aejax.figures.plots import latent_scatter, scatter_classes


def tsne(codes: np.ndarray, labels: np.ndarray, label_names: Sequence[str]) -> Figure:
    """Codes `[N, D]` in the plane by t-SNE (van der Maaten & Hinton 2008), coloured by class."""
    from sklearn.manifold import TSNE

    points = TSNE(random_state=0, init="pca", perplexity=min(30, len(codes) - 1)).fit_transform(
        codes
    )
    figure = latent_scatter(points, labels, label_names)
    figure.axes[0].set(xlabel="", ylabel="", xticks=[], yticks=[])
    figure.axes[0].spines[["left", "bottom"]].set_visible(False)
    return figure


def activity_histogram(codes: np.ndarray) -> Figure:
    """How often a unit of the codes `[N, D]` is how active; exact zeros apart, in the title."""
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    values = codes[codes != 0]
    axes.hist(values, bins=60, density=True, color="0.35")
    zeros = 1 - values.size / codes.size
    axes.set(xlabel="activity", ylabel="density", title=f"{zeros:.0%} of the units are 0")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def code_maps(images: np.ndarray, maps: np.ndarray) -> Figure:
    """Rows of an image and the channels of its code, blocks of pixels each.

    Args:
        images: `[N, H, W, C]` in [0, 1].
        maps: their codes `[N, h, w, K]`, with h <= H and w <= W; drawn over their greatest value,
            which the title names. Values below 0 are drawn as 0.
    """
    height, width, channels = images.shape[1:]
    greatest = maps.max()
    blocks = (-(-height // maps.shape[1]), -(-width // maps.shape[2]), 1)
    large = np.kron(maps / max(greatest, 1e-12), np.ones((1, *blocks)))[:, :height, :width]
    large = np.repeat(np.moveaxis(large, -1, 1)[..., None], channels, axis=-1)
    rows = np.concatenate([images[:, None], large], axis=1)
    picture = tile(rows.reshape(-1, height, width, channels), rows.shape[1], gap=3)
    title = f"images, and the {maps.shape[-1]} channels of their codes from 0 to {greatest:.3g}"
    return bare_figure(picture, title)


def codes_beside_prior(
    codes: np.ndarray, draws: np.ndarray, labels: np.ndarray, label_names: Sequence[str]
) -> Figure:
    """Whether codes `[N, D]` are distributed as draws `[M, D]` of the prior.

    In the plane: the codes coloured by class beside the draws, on the same axes. In more
    dimensions: their values over all dimensions, and each dimension's mean and standard deviation.
    """
    if codes.shape[1] == 2:
        return _planes(codes, draws, labels, label_names)
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    values, moments = figure.subplots(1, 2)
    low, high = np.percentile(np.concatenate([codes, draws]), [0.01, 99.99])
    bins = np.linspace(low, high, 80)
    for points, name, colour in ((draws, "prior", "0.6"), (codes, "codes", "tab:blue")):
        values.hist(points.ravel(), bins, density=True, histtype="step", color=colour, label=name)
        moments.scatter(
            points.mean(axis=0), points.std(axis=0), s=10, color=colour, label=name, linewidths=0
        )
    values.set(xlabel="value of a dimension", ylabel="density")
    moments.set(xlabel="mean of a dimension", ylabel="standard deviation")
    for axes in (values, moments):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def _planes(
    codes: np.ndarray, draws: np.ndarray, labels: np.ndarray, label_names: Sequence[str]
) -> Figure:
    figure = Figure(figsize=(8.4, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    scatter_classes(left, codes, labels, label_names)
    right.scatter(*draws.T, s=6, color="0.35", linewidths=0, alpha=0.8)
    for axes, title in ((left, "codes"), (right, "prior")):
        axes.set(title=title, xlabel="$z_1$", aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("$z_2$")
    if label_names and len(label_names) <= 20:
        figure.legend(loc="outside right center", frameon=False, markerscale=2.5, fontsize=8)
    return figure
