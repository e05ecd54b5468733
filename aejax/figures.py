"""Pictures, each a pure function of arrays -> a matplotlib `Figure`; nothing global is touched."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from jax.scipy.special import ndtri
from matplotlib.figure import Figure

from aejax.data.dataset import ImageDataset

_DOTS = 150  # an image's pixels are drawn as whole dots at this many dots an inch


def tile(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Images `[N, H, W, C]` in [0, 1] -> one array of rows and columns, `gap` pixels apart."""
    images = np.clip(np.asarray(images, np.float32), 0, 1)
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, channels)
    canvas = np.full(shape, _paper(channels), np.float32)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def _paper(channels: int) -> float:
    """The value drawn as white: grey images are drawn as ink, colour images as they are."""
    return 0.0 if channels == 1 else 1.0


def image_grid(images: np.ndarray, columns: int | None = None, gap: int = 1) -> Figure:
    """A grid of images `[N, H, W, C]` in [0, 1], as square as can be unless told the columns."""
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    return _bare_figure(tile(images, columns, gap))


def first_of_each_class(data: ImageDataset, count: int) -> np.ndarray:
    """`count` images that take the classes in turn, `[count, H, W, C]` in [0, 1]."""
    order = np.argsort(data.labels, kind="stable")
    labels, starts = np.unique(data.labels[order], return_index=True)
    rank = np.arange(len(data)) - starts[np.searchsorted(labels, data.labels[order])]
    chosen = order[np.lexsort((data.labels[order], rank))][:count]
    return (
        data.images[np.sort(chosen)[np.argsort(data.labels[np.sort(chosen)], kind="stable")]] / 255
    )


def reconstructions(images: np.ndarray, reconstructed: np.ndarray, columns: int = 10) -> Figure:
    """Pairs of rows: images `[N, H, W, C]` above their reconstructions, both in [0, 1]."""
    rows = []
    for start in range(0, len(images), columns):
        rows += [images[start : start + columns], reconstructed[start : start + columns]]
    short = len(rows[-1])
    if 0 < short < columns:  # the last pair is filled up with white
        blank = np.full((columns - short, *images.shape[1:]), _paper(images.shape[-1]))
        rows[-2:] = [np.concatenate([row, blank]) for row in rows[-2:]]
    return _bare_figure(tile(np.concatenate(rows), columns), "images above, reconstructions below")


def manifold(decode: Callable[[np.ndarray], np.ndarray], side: int = 20) -> Figure:
    """What a 2-D latent decodes to, `side` x `side` points at equal steps of probability.

    Kingma & Welling 2014 (arXiv 1312.6114), figure 4: the points are the quantiles of the standard
    normal prior at the centres of `side` equal parts.
    """
    quantiles = np.asarray(ndtri((np.arange(side, dtype=np.float32) + 0.5) / side))
    z1, z2 = np.meshgrid(quantiles, quantiles[::-1])
    codes = np.stack([z1.ravel(), z2.ravel()], axis=-1)
    return _bare_figure(tile(decode(codes), side, gap=0))


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


def _bare_figure(image: np.ndarray, title: str | None = None) -> Figure:
    """One picture without axes, every pixel the same whole number of dots."""
    height, width, channels = image.shape
    dots = max(1, round(6 * _DOTS / max(height, width)))
    header = 0.3 if title else 0.0
    size = (width * dots / _DOTS, height * dots / _DOTS + header)
    figure = Figure(figsize=size, dpi=_DOTS)
    axes = figure.add_axes((0, 0, 1, 1 - header / size[1]))
    axes.imshow(
        image[..., 0] if channels == 1 else image,
        cmap="gray_r" if channels == 1 else None,
        vmin=0,
        vmax=1,
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_axis_off()
    if title:
        figure.text(0.01, 1 - header / 2 / size[1], title, va="center", fontsize=9)
    return figure
