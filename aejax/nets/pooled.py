"""Convolutions with max-pooling down and nearest upsampling up, as the Keras blog has them.

Chollet 2016, "Building autoencoders in Keras".
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from aejax.nets.layers import GLOROT, Conv, Shape
from aejax.nets.pooling import max_pool, upsample

KERNEL = (3, 3)
PAIR = (2, 2)


class PoolEncoder(nn.Module):
    """Images `[B, H, W, C]` -> features `[B, h w channels[-1]]`, each side halved (up) n times."""

    channels: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.channels:
            x = max_pool(nn.relu(_conv(width)(x)), PAIR, PAIR, "SAME")
        return x.reshape(x.shape[0], -1)


class PoolDecoder(nn.Module):
    """Features `[B, h w channels[0]]` -> outputs `[B, *image_shape]`.

    A convolution and an upsampling an entry of `channels`, and a convolution to the image's
    channels. Where the sides were rounded up on the way down, the last of `channels` does not pad:
    28 -> 14 -> 7 -> 4 comes back as 4 -> 8 -> 16 - 2 -> 28.

    Attributes:
        dense: whether codes of any size are first mapped to the grid by a Dense layer.
    """

    channels: Sequence[int]
    image_shape: Shape
    dense: bool = True

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        pads = closing_pads(self.image_shape, len(self.channels))
        grid = (*coarse_sides(self.image_shape, len(self.channels)), self.channels[0])
        if self.dense:
            z = nn.relu(nn.Dense(grid[0] * grid[1] * grid[2], kernel_init=GLOROT)(z))
        x = z.reshape(z.shape[0], *grid)
        for width in self.channels[:-1]:
            x = upsample(nn.relu(_conv(width)(x)), PAIR)
        x = upsample(nn.relu(_conv(self.channels[-1], pads)(x)), PAIR)
        return _conv(self.image_shape[-1])(x)


def _conv(features: int, padding: Any = "SAME") -> Conv:
    return Conv(features, KERNEL, padding=padding, kernel_init=GLOROT)


def pooled_pair(
    image_shape: Shape,
    channels: Sequence[int] = (16, 8, 8),
    *,
    dense: bool = True,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and its mirror image; `channels` run from the image inwards.

    With the channels 16-8-8, 28 x 28 grey images and no Dense layer, the 4,385 parameters and the
    4 x 4 x 8 code of the Keras blog.

    Raises:
        ValueError: if `channels` is empty or not positive, or the sides cannot be restored.
    """
    if not channels or not all(width > 0 for width in channels):
        raise ValueError(f"channels {tuple(channels)} must be one or more positive numbers")
    closing_pads(image_shape, len(channels))
    decoder = PoolDecoder(tuple(reversed(channels)), image_shape, dense)
    return PoolEncoder(tuple(channels)), decoder


def coarse_sides(image_shape: Shape, halvings: int) -> tuple[int, int]:
    """The sides after `halvings` poolings of 2, each rounded up."""
    height, width, _ = image_shape
    return -(-height // 2**halvings), -(-width // 2**halvings)


def closing_pads(image_shape: Shape, halvings: int) -> list[tuple[int, int]]:
    """The padding of the last hidden convolution that restores the image's sides.

    Raises:
        ValueError: if neither padding by 1 nor none does.
    """
    pads = []
    for side, coarse in zip(image_shape, coarse_sides(image_shape, halvings), strict=False):
        excess = coarse * 2 ** (halvings - 1) - side / 2
        if excess not in (0, 2):
            raise ValueError(
                f"images of {image_shape[0]}x{image_shape[1]} do not come back from {halvings} "
                f"poolings of 2: use sides that are multiples of {2**halvings}"
            )
        pads.append((1, 1) if excess == 0 else (0, 0))
    return pads
