"""How much noise a code bears before its decoding looks like another class."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np


def noisy_codes(
    key: jax.Array, codes: np.ndarray, sigma: np.ndarray, scales: Sequence[float]
) -> np.ndarray:
    """Codes `[N, D]` plus Gaussian noise of scale x sigma `[D]`, for each scale: `[S, N, D]`.

    One draw serves all scales: a code moves along one line as they grow.
    """
    noise = sigma * np.asarray(jax.random.normal(key, codes.shape))
    return np.stack([codes + np.float32(scale) * noise for scale in scales])


def unchanged(
    decode: Callable[[np.ndarray], np.ndarray],
    classify: Callable[[Any], np.ndarray],
    codes: np.ndarray,
    key: jax.Array,
    scales: Sequence[float],
) -> np.ndarray:
    """The share of codes whose decoding keeps its class under noise, for each scale.

    Args:
        decode: codes `[N, D]` -> images `[N, H, W, C]`.
        classify: images -> labels `[N]`.
        codes: `[N, D]`; the noise is measured in their standard deviations, a dimension each.
        key: a random key, used once.
        scales: standard deviations of the noise over those of the codes, S of them.

    Returns:
        `[S]`, each within 0 and 1: the share whose class is that of the decoding without noise.
    """
    without = classify(decode(codes))
    rungs = noisy_codes(key, codes, codes.std(axis=0), scales)
    return np.array([np.mean(classify(decode(rung)) == without) for rung in rungs])
