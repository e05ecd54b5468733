"""Two-sample tests: whether rows `[N, D]` and `[M, D]` are draws of one distribution.

Each statistic is a function of how the pooled rows are shared out into two samples, for many
divisions at once. Its null is its value under random divisions of the same rows, a permutation test
(Good 2005; for the classifiers Lopez-Paz & Oquab 2017, arXiv 1610.06545), exact at any N and M.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from aejax.divergences import Kernel

# pooled rows [N, D], divisions [N, P] with 1 for the first sample and 0 for the other -> [P]
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Tested(NamedTuple):
    """A statistic, high for samples that differ, beside its null.

    Attributes:
        value: of the two samples.
        null: `[P]`, of random divisions of their rows.
    """

    value: float
    null: np.ndarray

    @property
    def quantile(self) -> float:
        """What the null exceeds in 5%: samples of one distribution lie below it in 95%."""
        return float(np.quantile(self.null, 0.95))

    @property
    def p_value(self) -> float:
        """The share of divisions, the given one among them, that differ as much."""
        return float((1 + np.sum(self.null >= self.value)) / (1 + len(self.null)))


def permutation_tests(
    statistics: Mapping[str, Statistic],
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    permutations: int = 200,
) -> dict[str, Tested]:
    """Every statistic of the samples `[N, D]` and `[M, D]`, with its null."""
    rows = np.concatenate([x, y])
    own = np.arange(len(rows)) < len(x)
    divisions = np.stack([own, *(rng.permutation(own) for _ in range(permutations))], axis=1)
    found = {name: of(rows, divisions.astype(np.float32)) for name, of in statistics.items()}
    return {name: Tested(float(values[0]), values[1:]) for name, values in found.items()}


def squared_mmd(kernel: Kernel) -> Statistic:
    """The unbiased estimate of Gretton et al. 2012, equation 3, as `divergences.squared_mmd`."""
    from sklearn.metrics.pairwise import euclidean_distances

    def statistic(rows: np.ndarray, first: np.ndarray) -> np.ndarray:
        similarity = np.array(kernel(euclidean_distances(rows, squared=True).astype(np.float32)))
        np.fill_diagonal(similarity, 0)
        n, m = first[:, 0].sum(), len(rows) - first[:, 0].sum()
        to_first = similarity @ first
        within = np.sum(first * to_first, axis=0)
        between = np.sum((1 - first) * to_first, axis=0)
        within_other = similarity.sum() - within - 2 * between
        return within / (n * (n - 1)) + within_other / (m * (m - 1)) - 2 * between / (n * m)

    return statistic


def moment_off(moment: Callable[..., np.ndarray]) -> Statistic:
    """How far apart a moment of the samples is, the mean over dimensions: `np.mean`, `np.std`."""

    def statistic(rows: np.ndarray, first: np.ndarray) -> np.ndarray:
        parts = ((rows[one == 1], rows[one == 0]) for one in first.T)
        return np.array([np.abs(moment(a, axis=0) - moment(b, axis=0)).mean() for a, b in parts])

    return statistic


def quadratic_accuracy(rows: np.ndarray, first: np.ndarray) -> np.ndarray:
    """How often a linear classifier fitted anew is right, five-fold: 0.5 is chance.

    Least squares on the dimensions, their squares and, up to twenty dimensions, their products: it
    sees means and covariances.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    few = rows.shape[1] <= 20
    features = PolynomialFeatures(2).fit_transform(rows) if few else np.hstack([rows, rows**2])

    def predicted(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        model = make_pipeline(StandardScaler(), Ridge())
        found = model.fit(features[train], first[train]).predict(features[test])
        return found.reshape(len(test), -1)  # of one division scikit-learn gives [rows]

    return _accuracy(predicted, first)


def neighbours_accuracy(rows: np.ndarray, first: np.ndarray, neighbours: int = 5) -> np.ndarray:
    """How often the nearest rows are right, five-fold: it sees what covariances do not show."""
    from sklearn.neighbors import NearestNeighbors

    def predicted(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        near = NearestNeighbors(n_neighbors=neighbours).fit(rows[train])
        return first[train][near.kneighbors(rows[test], return_distance=False)].mean(axis=1)

    return _accuracy(predicted, first)


def _accuracy(
    predicted: Callable[[np.ndarray, np.ndarray], np.ndarray], first: np.ndarray
) -> np.ndarray:
    """The share of rows whose sample a fold's prediction `[rows, P]` names; folds are random."""
    from sklearn.model_selection import KFold

    right = np.zeros(first.shape[1])
    for train, test in KFold(5, shuffle=True, random_state=0).split(first):
        right += np.sum((predicted(train, test) > 0.5) == (first[test] > 0.5), axis=0)
    return right / len(first)


def usual_statistics(kernels: Mapping[str, Kernel]) -> dict[str, Statistic]:
    """The two classifiers, the moments and, for each kernel, the MMD."""
    return {
        "mean_off_by": moment_off(np.mean),
        "deviation_off_by": moment_off(np.std),
        **{f"mmd2_{name}": squared_mmd(kernel) for name, kernel in kernels.items()},
        "two_sample_accuracy_quadratic": quadratic_accuracy,
        "two_sample_accuracy_neighbours": partial(neighbours_accuracy, neighbours=5),
    }
