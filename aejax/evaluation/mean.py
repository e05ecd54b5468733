"""The mean over a data set and how far it may be off."""

import math
from typing import Any, NamedTuple

import numpy as np


class MeanAndError(NamedTuple):
    """A mean and its standard error, in the units of the values."""

    mean: float
    error: float


def mean_and_error(values: Any) -> MeanAndError:
    """The mean of `[N]` independent values and its standard error, s / sqrt(N).

    s^2 is the sample variance, over N - 1. Summed in float64: a float32 sum of 10,000
    log-likelihoods is good to a hundredth of a nat only where it is summed in pairs.

    Raises:
        ValueError: if `values` is not `[N]` with N at least 2.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"values {values.shape} is not [N] with N at least 2: a standard error needs two"
        )
    return MeanAndError(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))
