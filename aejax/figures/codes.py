"""Pictures of codes that have more than two dimensions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

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
