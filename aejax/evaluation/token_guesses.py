"""Guesses at sequences of tokens without a network, to compare with."""

import numpy as np

from aejax.evaluation.markov import fit_markov
from aejax.evaluation.probes import pca_codes
from aejax.evaluation.sequences import accuracy
from aejax.music.tokens import HOLD

FITTED = 10_000  # training sequences that PCA is fitted to


def guess_results(
    train: np.ndarray, test: np.ndarray, vocabulary: int, bar: int, dimensions: int, order: int = 4
) -> dict[str, float]:
    """Accuracies of guesses at test sequences, of all tokens and of others than hold.

    `hold`: nothing but hold. `last_bar`: each bar as the one before, the first as hold. `markov`:
    the likeliest token after `order` true ones at this step, with its nats a token. `pca`: the
    greatest of the values that `dimensions` principal components of one-hot sequences give back.

    Args:
        train: tokens int32 `[M, T]`, or `[M, R, T]` of R tracks.
        test: `[N, T]` or `[N, R, T]`.
        vocabulary: tokens are 0 up to one less.
        bar: steps of a bar.
        dimensions: those of the code that PCA is given.
        order: of the Markov model, which looks at a track alone.
    """
    tracks, others = (x.reshape(-1, x.shape[-1]) for x in (test, train))
    log_p, likeliest = fit_markov(others, vocabulary, order).log_probs(tracks)
    guesses = {
        "hold": np.full_like(tracks, HOLD),
        "last_bar": last_bar(tracks, bar),
        "markov": likeliest,
        "pca": pca(train, test, vocabulary, dimensions).reshape(tracks.shape),
    }
    results = {"nats_per_token_markov": float(-log_p.mean())}
    for name, guess in guesses.items():
        results |= accuracy(guess, tracks, f"accuracy_{name}")
    return results


def last_bar(x: np.ndarray, bar: int) -> np.ndarray:
    """Each bar as the one before it, the first as hold, tokens `[N, T]`."""
    return np.pad(x[:, :-bar], ((0, 0), (bar, 0)), constant_values=HOLD)


def pca(train: np.ndarray, test: np.ndarray, vocabulary: int, dimensions: int) -> np.ndarray:
    """The likeliest tokens by principal components of one-hot sequences, as `test`."""
    one_hot = np.eye(vocabulary, dtype=np.uint8)
    return pca_codes(one_hot[train[:FITTED]], one_hot[test], dimensions)[2].argmax(axis=-1)
