"""A judge of images: what class they look like, and whether they look like the data at all.

A classifier says a class of anything, and says it surely of noise. The judge asks also how far the
image is from those of that class, by SIMCA (Wold 1976, "Pattern recognition by means of disjoint
principal components models"): a principal subspace for each class, and the distance from it. Images
and gradients are scaled to norm 1 first, because a faint image is near everything.

It is strict on blur and lax on blends: of two digits mixed half and half about two thirds pass.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.judging.classifier import Classifier, train_classifier

RECOGNISED = 0.95  # of the held-out images
_IMAGES = 10_000  # fitted to, enough to tell what an image looks like
_HELD_OUT = 0.2  # of them, which neither the classifier nor the subspaces see, for the threshold
_COMPONENTS = 40  # of a class's subspace
_FEWEST = 10  # images of a class

Marks = Callable[[Any, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Judge:
    """What `fit_judge` gives.

    Attributes:
        classifier: says the class.
        strangeness: (images `[N, H, W, C]`, classes `[N]`) -> how unlike that class each is: `[N]`.
        threshold: the largest strangeness of an image that is recognised.
    """

    classifier: Classifier
    strangeness: Callable[[Any, np.ndarray], np.ndarray]
    threshold: float

    def verdict(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """The class of each image, and whether it passes for one of the data.

        Args:
            images: `[N, H, W, C]`, uint8, or floats in [0, 1].

        Returns:
            classes `[N]`, and `[N]` of bool.
        """
        classes = self.classifier.classify(images)
        return classes, self.strangeness(images, classes) <= self.threshold

    def recognised(self, images: Any) -> float:
        """The share of images `[N, H, W, C]` that pass for one of the data."""
        return float(np.mean(self.verdict(images)[1]))

    def recognised_as(self, images: Any, labels: np.ndarray) -> float:
        """The share that pass for one of the data and are of their label `[N]`."""
        classes, passes = self.verdict(images)
        return float(np.mean(passes & (classes == labels)))


def fit_judge(data: Dataset) -> Judge:
    """Fits a judge to the first 10,000 of `data`; some ten seconds on 4,000 digits.

    Four marks speak against an image: see `_fit_marks`. Its strangeness is the largest share of the
    held-out images of its class whose mark lies below its own. The threshold is the 0.95
    quantile over the held-out images.

    Raises:
        UsageError: if there are no labels, or a class has fewer than 10 images.
    """
    from sklearn.model_selection import train_test_split

    data = data.first(_IMAGES)
    _check(data)
    rows = train_test_split(
        np.arange(len(data)), test_size=_HELD_OUT, random_state=0, stratify=data.labels
    )
    seen, held_out = (data.rows(r) for r in rows)
    strangeness = _ranked(_fit_marks(seen), held_out)
    classifier = train_classifier(seen)
    scores = strangeness(held_out["x"], classifier.classify(held_out["x"]))
    return Judge(classifier, strangeness, float(np.quantile(scores, RECOGNISED)))


def _check(data: Dataset) -> None:
    if not data.labelled:
        raise UsageError(f"{data.name} has no labels to judge by: give another data set")
    fewest = int(np.bincount(data.labels).min())
    if fewest < _FEWEST:
        raise UsageError(
            f"a class of {data.name} has {fewest} images, and a judge needs {_FEWEST} of each: "
            "give more"
        )


def _ranked(marks: Marks, held_out: Dataset) -> Marks:
    """The largest rank of an image's marks among those of held-out images of the class: `[N]`."""
    found = marks(held_out["x"], held_out.labels)
    of_class = [found[held_out.labels == c] for c in range(held_out.labels.max() + 1)]

    def strangeness(images: Any, classes: np.ndarray) -> np.ndarray:
        rows = zip(marks(images, classes), classes, strict=True)
        return np.array([np.mean(of_class[c] < mark, axis=0).max() for mark, c in rows])

    return strangeness


def _fit_marks(data: Dataset) -> Marks:
    """(Images, classes) -> what speaks against each being of its class, `[N, 4]`.

    The distance of the image from the class's subspace; that over the distance from the nearest of
    the other classes'; the distance of the gradient from the class's subspace; and the blur.
    """
    flat, gradient = _flat(data["x"]), _gradient(data["x"])
    from_images = _fit_distances(_unit(flat), data.labels)
    from_gradients = _fit_distances(_unit(gradient), data.labels)

    def marks(images: Any, classes: np.ndarray) -> np.ndarray:
        x, slopes = _flat(images), _gradient(images)
        rows = np.arange(len(x))
        distances = from_images(_unit(x))
        own = distances[rows, classes]
        distances[rows, classes] = np.inf
        nearer = own / np.maximum(distances.min(axis=-1), 1e-6)
        edges = from_gradients(_unit(slopes))[rows, classes]
        sharpness = np.linalg.norm(slopes, axis=-1) / np.maximum(np.linalg.norm(x, axis=-1), 1e-6)
        return np.stack([own, nearer, edges, -sharpness], axis=-1)

    return marks


def _fit_distances(rows: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Rows `[N, D]` -> their distances from each class's principal subspace, `[N, classes]`."""
    from sklearn.decomposition import PCA

    of_class = [rows[labels == c] for c in range(labels.max() + 1)]
    subspaces = [
        PCA(min(_COMPONENTS, len(r) // 2, r.shape[1]), random_state=0).fit(r) for r in of_class
    ]

    means = np.stack([s.mean_ for s in subspaces])
    bases = [s.components_ for s in subspaces]

    def distances(rows: np.ndarray) -> np.ndarray:
        # Pythagoras: the squared distance from the mean, less what lies in the subspace.
        from_mean = (rows**2).sum(axis=-1, keepdims=True) - 2 * rows @ means.T + (means**2).sum(-1)
        within = [
            ((rows @ b.T - b @ m) ** 2).sum(axis=-1) for b, m in zip(bases, means, strict=True)
        ]
        return np.sqrt(np.maximum(from_mean - np.stack(within, axis=-1), 0))

    return distances


def _flat(images: Any) -> np.ndarray:
    """Images `[N, H, W, C]` -> float32 `[N, H W C]` in [0, 1]."""
    images = np.asarray(images)
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    return images.reshape(len(images), -1).astype(np.float32) / scale


def _gradient(images: Any) -> np.ndarray:
    """The differences of neighbouring pixels, down and across: `[N, H, W, C]` -> `[N, D]`."""
    x = _flat(images).reshape(np.shape(images))
    return np.concatenate([_flat(np.diff(x, axis=axis)) for axis in (1, 2)], axis=-1)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-6)
