"""Images that are none of the data, to show beside a judge's verdicts on a model's."""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

from aejax.data.dataset import Dataset


def controls(
    data: Dataset, rng: np.random.Generator, other: Dataset | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Named sets of images `[N, H, W, C]`, floats in [0, 1], made of labelled images.

    A judge of the data should refuse all of them, the mildest blur apart.

    Args:
        data: what they are made of; give images that the judge has not seen.
        rng: of the noise, the permutations and the pairs.
        other: images of another data set and the same shape.
    """
    x = data["x"] / np.float32(255)
    flat = x.reshape(len(x), -1)
    yield "uniform noise", rng.uniform(size=x.shape).astype(np.float32)
    noise = rng.normal(x.mean(axis=0), x.std(axis=0), size=x.shape)
    yield "Gaussian noise of the pixels' moments", np.clip(noise, 0, 1).astype(np.float32)
    yield "pixels in one other order", flat[:, rng.permutation(flat.shape[1])].reshape(x.shape)
    yield "pixels in an order an image", rng.permuted(flat, axis=1).reshape(x.shape)
    yield "inverted", 1 - x
    yield "blank", np.zeros_like(x[:1])
    yield "mean image", x.mean(axis=0, keepdims=True)
    of_class = [x[data.labels == c] for c in np.unique(data.labels)]
    yield "mean images of the classes", np.stack([images.mean(axis=0) for images in of_class])
    for sigma in (1, 2):
        yield f"blurred by {sigma} pixels", gaussian_filter(x, (0, sigma, sigma, 0))
    first, second = pairs(data, rng, len(x)).T
    yield "half and half of two classes", (x[first] + x[second]) / 2
    if other is not None:
        yield other.name, other["x"][: len(x)] / np.float32(255)


def pairs(data: Dataset, rng: np.random.Generator, count: int) -> np.ndarray:
    """Indices `[count, 2]` of random images of different classes."""
    drawn = rng.integers(len(data), size=(20 * count, 2))
    return drawn[data.labels[drawn[:, 0]] != data.labels[drawn[:, 1]]][:count]
