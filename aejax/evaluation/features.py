"""Distances between sets of images by the features of a classifier that is trained here.

They are not the distances of the literature, whose features are Inception's: they compare models
on one data set, by one classifier, which `fingerprint` names.
"""

import hashlib
from typing import Any

import jax
import numpy as np

_ROWS = 1000  # of the kernel's matrix at a time


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """Squared Frechet distance between Gaussians fitted to `[N, F]` and `[M, F]`.

    Dowson & Landau 1982, as Heusel et al. 2017 (arXiv 1706.08500) use it:
    |m - n|^2 + tr(C + D - 2 (C D)^(1/2)). The trace of the root is the sum of the roots of the
    eigenvalues of C^(1/2) D C^(1/2), which is symmetric. It is biased upwards, by more the fewer
    the images: compare sets of equal size.

    Raises:
        ValueError: if a set has fewer than two rows, or the widths differ.
    """
    _check(features, others)
    means = [np.mean(f, axis=0, dtype=np.float64) for f in (features, others)]
    first, second = (np.atleast_2d(np.cov(f, rowvar=False)) for f in (features, others))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0))
    apart = np.sum((means[0] - means[1]) ** 2)
    return float(apart + np.trace(first) + np.trace(second) - 2 * roots.sum())


def kernel_distance(features: np.ndarray, others: np.ndarray) -> float:
    """Squared MMD with the kernel (x y / F + 1)^3, without bias: `[N, F]`, `[M, F]`.

    Binkowski et al. 2018 (arXiv 1801.01401), section 4. It may be negative where the sets are of
    one distribution.

    Raises:
        ValueError: if a set has fewer than two rows, or the widths differ.
    """
    _check(features, others)
    x, y = (np.asarray(f, np.float64) for f in (features, others))

    def total(a: np.ndarray, b: np.ndarray) -> float:
        parts = (a[i : i + _ROWS] @ b.T for i in range(0, len(a), _ROWS))
        return float(sum(((part / a.shape[1] + 1) ** 3).sum() for part in parts))

    def within(a: np.ndarray) -> float:
        of_each_with_itself = (((a**2).sum(axis=1) / a.shape[1] + 1) ** 3).sum()
        return (total(a, a) - of_each_with_itself) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * total(x, y) / (len(x) * len(y))


def fingerprint(params: Any) -> str:
    """The SHA-256 of a pytree's arrays, in the order of their paths: of one classifier or another.

    Twelve hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:12]


def _check(features: np.ndarray, others: np.ndarray) -> None:
    shapes = np.shape(features), np.shape(others)
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"features {shapes[0]} and {shapes[1]} are not [N, F] and [M, F] of N > 1")
