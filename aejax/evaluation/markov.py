"""Markov models of sequences of tokens, to compare with: an order, and perhaps the step's index."""

import dataclasses
from collections.abc import Sequence

import numpy as np

_ROWS = 8192  # positions at a time


@dataclasses.dataclass(frozen=True)
class Markov:
    """A Markov model by interpolation after Witten & Bell 1991 (method C).

    p(w|h) = (count(h, w) + kinds(h) p(w|h')) / (count(h) + kinds(h)): h' is h without its first
    token, kinds(h) how many tokens have followed h; below no token at all, and the step's index
    where there is one, all tokens of the vocabulary are alike. The tokens before a sequence are of
    a kind of their own.

    Attributes:
        vocabulary: how many tokens there are.
        tables: of every order from 0 on, the contexts in order, `[C]`, and the counts of what
            followed each, a sparse `[C, vocabulary]`.
        stepped: whether a context says its step's index too.
    """

    vocabulary: int
    tables: Sequence[tuple[np.ndarray, object]]
    stepped: bool

    def log_probs(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens `[N, T]` -> the log-probability of each, nats, and the likeliest, `[N, T]`."""
        contexts = [
            _contexts(x, order, self.vocabulary, self.stepped) for order in range(len(self.tables))
        ]
        tokens, logs, likeliest = x.ravel(), [], []
        for start in range(0, len(tokens), _ROWS):
            rows = slice(start, start + _ROWS)
            p = self._probabilities([c[rows] for c in contexts])
            logs.append(np.log(p[np.arange(len(p)), tokens[rows]]))
            likeliest.append(p.argmax(axis=1))
        return tuple(np.concatenate(a).reshape(x.shape) for a in (logs, likeliest))  # type: ignore[return-value]

    def _probabilities(self, contexts: Sequence[np.ndarray]) -> np.ndarray:
        """Of every token after the contexts of each order, `[M]`: `[M, vocabulary]`."""
        p = np.full((len(contexts[0]), self.vocabulary), 1 / self.vocabulary)
        for (known, counts), wanted in zip(self.tables, contexts, strict=True):
            place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
            seen = known[place] == wanted
            found = counts[place[seen]].toarray()  # type: ignore[index]
            kinds = (found > 0).sum(axis=1, keepdims=True)
            p[seen] = (found + kinds * p[seen]) / (found.sum(axis=1, keepdims=True) + kinds)
        return p


def fit_markov(x: np.ndarray, vocabulary: int, order: int, stepped: bool = True) -> Markov:
    """The model of tokens `[N, T]`, from 0 to one less than the vocabulary."""
    from scipy.sparse import csr_matrix

    tables = []
    for length in range(order + 1):
        contexts = _contexts(x, length, vocabulary, stepped)
        known, place = np.unique(contexts, return_inverse=True)
        ones = np.ones(x.size)
        shape = (len(known), vocabulary)
        tables.append((known, csr_matrix((ones, (place, x.ravel())), shape=shape)))
    return Markov(vocabulary, tables, stepped)


def _contexts(x: np.ndarray, order: int, vocabulary: int, stepped: bool) -> np.ndarray:
    """A number for the `order` tokens before each, and for the step if so, int64 `[N T]`."""
    steps = x.shape[1]
    padded = np.pad(x.astype(np.int64), ((0, 0), (order, 0)), constant_values=vocabulary)
    found = np.broadcast_to(np.arange(steps) if stepped else 0, x.shape).astype(np.int64)
    for back in range(order):
        found = found * (vocabulary + 1) + padded[:, back : back + steps]
    return found.ravel()
