"""Small parts that the nets share."""

import math
from typing import Any

import flax.linen as nn
import jax

Shape = tuple[int, int, int]


def num_elements(image_shape: Shape) -> int:
    """Pixels times channels of an `(H, W, C)` image."""
    return math.prod(image_shape)


class LearnedScale(nn.Module):
    """A decoder with one learned log standard deviation for all pixels.

    Latents `[B, D]` -> (the decoder's outputs `[B, H, W, C]`, log_sigma, a scalar), as
    `likelihoods.gaussian_learned` takes them.
    """

    decoder: nn.Module

    @nn.compact
    def __call__(self, z: jax.Array) -> tuple[Any, jax.Array]:
        log_sigma = self.param("log_sigma", nn.initializers.zeros, ())
        return self.decoder(z), log_sigma
