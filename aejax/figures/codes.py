"""Pictures of codes that have more than two dimensions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from aejax.figures.grids import bare_figure, tile
from aejax.figures.plots import latent_scatter


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
