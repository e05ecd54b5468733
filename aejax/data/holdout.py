"""The part of the training images that is held out for choices: the validation images."""

import numpy as np

from aejax.data.dataset import Dataset
from aejax.errors import UsageError

_SEED = 0  # of every split, so that runs of other seeds are compared on the same images


def hold_out(data: Dataset, validation: float) -> tuple[Dataset, Dataset]:
    """Parts a data set into training and validation images, a function of its size alone.

    The images are drawn at random: a data set may be sorted by class. Both parts are copies in
    memory, in the order of the data set.

    Args:
        data: the training images.
        validation: how many are held out, from 1 on, or their share, below 1.

    Raises:
        UsageError: if one of the parts would be empty.
    """
    check_validation(validation)
    count = round(validation * len(data)) if validation < 1 else int(validation)
    if not 1 <= count < len(data):
        raise UsageError(
            f"--validation {validation:g} holds {count} of {len(data)} images out: give 1 to "
            f"{len(data) - 1}, or a share of them"
        )
    held = held_out(len(data), count)
    return data.rows(~held), data.rows(held)


def held_out(total: int, count: int) -> np.ndarray:
    """Which of `total` examples are held out, `count` of them: a mask, a function of both alone."""
    held = np.zeros(total, bool)
    held[np.random.default_rng(_SEED).permutation(total)[:count]] = True
    return held


def check_validation(validation: float) -> None:
    """Raises a `UsageError` unless it is a share within 0 and 1, or a whole number of images."""
    if not (0 < validation < 1 or (validation >= 1 and float(validation).is_integer())):
        raise UsageError(
            f"--validation {validation:g} is neither a number of images, such as 500, nor a share "
            "of them, such as 0.1"
        )
