"""How much of a set of images another set covers, by their features."""

import numpy as np


def coverage(features: np.ndarray, others: np.ndarray, neighbours: int = 5) -> float:
    """The share of rows `[N, F]` with one of the others `[M, F]` within their own neighbourhood.

    Naeem et al. 2020 (arXiv 2002.09797), equation 7: a row's neighbourhood reaches to the
    `neighbours`-th nearest of the other rows of its own set. A set that repeats one row covers few
    of them; one of the same size and distribution covers about 1 - 2^-neighbours.

    Raises:
        ValueError: if there are not more rows than neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(features) <= neighbours:
        raise ValueError(
            f"{len(features)} rows have no {neighbours} neighbours: give more rows, or fewer "
            "neighbours"
        )
    reach = NearestNeighbors(n_neighbors=neighbours).fit(features).kneighbors()[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(features)[0][:, 0]
    return float(np.mean(nearest <= reach))


def diversity(
    features: np.ndarray, labels: np.ndarray, others: np.ndarray, other_labels: np.ndarray
) -> dict[str, float]:
    """How diverse the others are beside features of real images, class by class.

    Args:
        features: `[N, F]`, of real images.
        labels: `[N]`, their classes.
        others: `[M, F]`, with images of all these classes.
        other_labels: `[M]`.

    Returns:
        `coverage`, and `distance`: the mean distance between two of the others over that between
        two of the real images; both are means over classes, and 0 or near it for a model that
        repeats one image a class.
    """
    from scipy.spatial.distance import pdist

    pairs = [(features[labels == c], others[other_labels == c]) for c in np.unique(labels)]
    return {
        "coverage": float(np.mean([coverage(real, other) for real, other in pairs])),
        "distance": float(np.mean([pdist(b).mean() / pdist(a).mean() for a, b in pairs])),
    }
