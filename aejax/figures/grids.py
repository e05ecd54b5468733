"""Pictures of images in rows and columns."""

from collections.abc import Callable

import numpy as np
from jax.scipy.special import ndtri
from matplotlib.figure import Figure

from aejax.data.dataset import Dataset

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
    return bare_figure(tile(images, columns, gap))


def first_of_each_class(data: Dataset, count: int) -> np.ndarray:
    """`count` examples that take the classes in turn, as a batch has them: images in [0, 1]."""
    order = np.argsort(data.labels, kind="stable")
    labels, starts = np.unique(data.labels[order], return_index=True)
    rank = np.arange(len(data)) - starts[np.searchsorted(labels, data.labels[order])]
    chosen = order[np.lexsort((data.labels[order], rank))][:count]
    some = np.sort(chosen)
    x = data["x"][some[np.argsort(data.labels[some], kind="stable")]]
    return x / 255 if x.dtype == np.uint8 else x


def as_images(x: np.ndarray) -> np.ndarray:
    """Examples `[N, ...]` of any kind as images `[N, H, W, C]` in [0, 1].

    Images stay as they are. A vector, or a sequence of T steps with W values each, is drawn as a
    strip of T by W pixels, from the least to the greatest value.
    """
    if x.ndim == 4:
        return x
    strips = np.asarray(x, np.float32).reshape(len(x), 1, *x.shape[1:2], -1).swapaxes(1, 3)
    low, high = strips.min(), strips.max()
    return np.repeat((strips - low) / max(high - low, 1e-12), 4, axis=1)


def reconstructions(images: np.ndarray, reconstructed: np.ndarray, columns: int = 10) -> Figure:
    """Pairs of rows: images `[N, H, W, C]` above their reconstructions, both in [0, 1]."""
    rows = []
    for start in range(0, len(images), columns):
        rows += [images[start : start + columns], reconstructed[start : start + columns]]
    short = len(rows[-1])
    if 0 < short < columns:  # the last pair is filled up with white
        blank = np.full((columns - short, *images.shape[1:]), _paper(images.shape[-1]))
        rows[-2:] = [np.concatenate([row, blank]) for row in rows[-2:]]
    return bare_figure(tile(np.concatenate(rows), columns), "images above, reconstructions below")


def manifold(decode: Callable[[np.ndarray], np.ndarray], side: int = 20) -> Figure:
    """What a 2-D latent decodes to, `side` x `side` points at equal steps of probability.

    Kingma & Welling 2014 (arXiv 1312.6114), figure 4: the points are the quantiles of the standard
    normal prior at the centres of `side` equal parts.
    """
    return _decoded_plane(
        decode, np.asarray(ndtri((np.arange(side, dtype=np.float32) + 0.5) / side))
    )


def square(
    decode: Callable[[np.ndarray], np.ndarray], side: int = 15, reach: float = 1.0
) -> Figure:
    """What a 2-D latent decodes to at `side` x `side` equal steps over [-reach, reach]^2."""
    return _decoded_plane(decode, np.linspace(-reach, reach, side, dtype=np.float32))


def _decoded_plane(decode: Callable[[np.ndarray], np.ndarray], steps: np.ndarray) -> Figure:
    z1, z2 = np.meshgrid(steps, steps[::-1])
    codes = np.stack([z1.ravel(), z2.ravel()], axis=-1)
    return bare_figure(tile(decode(codes), len(steps), gap=0))


def bare_figure(image: np.ndarray, title: str | None = None, margin: float = 0.0) -> Figure:
    """One picture `[H, W, C]` without axes, every pixel the same whole number of dots.

    `margin` inches are left free at its left.
    """
    height, width, channels = image.shape
    dots = max(1, round(6 * _DOTS / max(height, width)))
    header = 0.3 if title else 0.0
    size = (width * dots / _DOTS + margin, height * dots / _DOTS + header)
    figure = Figure(figsize=size, dpi=_DOTS)
    left = margin / size[0]
    axes = figure.add_axes((left, 0, 1 - left, 1 - header / size[1]))
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
