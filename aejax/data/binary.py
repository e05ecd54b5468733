"""Images of zeros and ones."""

import numpy as np

from aejax.data.dataset import Dataset


def binarized(data: Dataset, seed: int) -> Dataset:
    """Every pixel drawn once: 255 with the chance that it is of 255, otherwise 0.

    The images on which likelihoods of a model of binary pixels are compared; a function of the
    seed and of the image's place alone.
    """
    draws = np.random.default_rng(seed).random(data["x"].shape, np.float32)
    # random() is below 1 and may be 0: a pixel of 255 is always drawn, one of 0 never.
    drawn = draws < data["x"] / np.float32(255)
    return data.replaced(x=np.where(drawn, 255, 0).astype(np.uint8))
