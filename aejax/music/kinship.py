"""Which tunes are variants of one tune."""

from collections.abc import Sequence

import numpy as np

_INTERVALS = 6  # a shingle
_COMMON = 60  # a shingle that more tunes have says nothing
_ALIKE = 0.15  # of Jaccard's index: the share of shingles in common


def shingles(pitches: Sequence[int]) -> set[tuple[int, ...]]:
    """The runs of six intervals of a melody: no matter its key, rhythm and repeated notes."""
    steps = np.diff(pitches)
    steps = steps[steps != 0].tolist()
    return {tuple(steps[i : i + _INTERVALS]) for i in range(len(steps) - _INTERVALS + 1)}


def clusters(melodies: Sequence[Sequence[int]]) -> np.ndarray:
    """The number of the cluster of each melody, int `[N]`; variants of one tune share theirs.

    Two melodies are joined if they share at least four shingles, three of them in at most 60
    melodies, that are 15% of what both have; a cluster is what joins make of pairs. Of such pairs
    some 11% are chance, which does a split no harm.

    Args:
        melodies: the MIDI pitches of each, in order.
    """
    from scipy.sparse import csr_array, triu
    from scipy.sparse.csgraph import connected_components

    found = [shingles(pitches) for pitches in melodies]
    columns: dict[tuple[int, ...], int] = {}
    numbers = [columns.setdefault(key, len(columns)) for keys in found for key in keys]
    sizes = np.array([len(keys) for keys in found])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    shape = (len(found), len(columns))
    has = csr_array((np.ones(len(numbers), np.int32), numbers, starts), shape=shape)
    rare = has[:, np.bincount(numbers, minlength=len(columns)) <= _COMMON]
    shared = triu(rare @ rare.T, k=1).tocoo()
    first, second = shared.row[shared.data >= 3], shared.col[shared.data >= 3]
    both = has[first].multiply(has[second]).sum(axis=1)
    alike = (both >= 4) & (both >= _ALIKE * (sizes[first] + sizes[second] - both))
    pairs = (np.ones(alike.sum()), (first[alike], second[alike]))
    return connected_components(csr_array(pairs, shape=(len(found),) * 2), directed=False)[1]
