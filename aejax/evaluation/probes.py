"""What a code knows of the class, by scikit-learn's models fitted to it."""

from collections.abc import Mapping

import numpy as np

from aejax.admission import unit_images
from aejax.data.dataset import Dataset


def knn_accuracy(
    codes: np.ndarray,
    labels: np.ndarray,
    test_codes: np.ndarray,
    test_labels: np.ndarray,
    neighbours: int = 5,
) -> float:
    """The share of test codes `[M, D]` that the nearest of the codes `[N, D]` classify rightly."""
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(neighbours, len(codes)))
    return float(model.fit(codes, labels).score(test_codes, test_labels))


def knn_accuracies(
    codes: Mapping[str, tuple[np.ndarray, np.ndarray]], train: Dataset, test: Dataset
) -> dict[str, float]:
    """`knn_accuracy` of each pair (codes `[N, D]`, test codes `[M, D]`) of the first images.

    Named `knn_accuracy` and the pair's suffix; nothing where the images have no labels.
    """
    if not (train.labelled and test.labelled):
        return {}
    return {
        f"knn_accuracy{suffix}": knn_accuracy(
            x, train.labels[: len(x)], test_x, test.labels[: len(test_x)]
        )
        for suffix, (x, test_x) in codes.items()
    }


def linear_probe_accuracy(
    codes: np.ndarray, labels: np.ndarray, test_codes: np.ndarray, test_labels: np.ndarray
) -> float:
    """The share of test codes `[M, D]` that logistic regression on `[N, D]` classifies rightly."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(model.fit(codes, labels).score(test_codes, test_labels))


def pca_codes(
    images: np.ndarray, test_images: np.ndarray, dimensions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components fitted to uint8 or [0, 1] images `[N, H, W, C]`, no more than there are.

    Returns:
        the codes `[N, dimensions]`, the test images' `[M, dimensions]`, and the test images'
        reconstructions `[M, H, W, C]`, not clipped.
    """
    from sklearn.decomposition import PCA

    x, y = (_flat(part) for part in (images, test_images))
    model = PCA(min(dimensions, *x.shape), random_state=0).fit(x)
    codes = model.transform(y)
    back = model.inverse_transform(codes).reshape(test_images.shape).astype(np.float32)
    return model.transform(x), codes, back


def _flat(images: np.ndarray) -> np.ndarray:
    return unit_images("images", images).reshape(len(images), -1).astype(np.float32)
