"""Convolutional encoder and decoder: stride-2 convolutions down, transposed convolutions up."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from aejax.nets.layers import Conv, ConvTranspose, Shape

KERNEL = (3, 3)


class ConvEncoder(nn.Module):
    """Images `[B, H, W, C]` -> features `[B, H/2^n W/2^n channels[-1]]`, n = len(channels)."""

    channels: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.channels:
            x = nn.relu(Conv(width, KERNEL, strides=2)(x))
        return x.reshape(x.shape[0], -1)


class ConvDecoder(nn.Module):
    """Latents `[B, D]` -> outputs `[B, *image_shape]`.

    A Dense layer to the coarse grid, one transposed convolution an entry of `channels`, each
    doubling the sides, and a 3 x 3 convolution to the image's channels.
    """

    channels: Sequence[int]
    image_shape: Shape

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        check_sides(self.image_shape, self.channels)
        height, width, out_channels = self.image_shape
        factor = 2 ** len(self.channels)
        grid = (height // factor, width // factor, self.channels[0])
        x = nn.relu(nn.Dense(grid[0] * grid[1] * grid[2])(z)).reshape(z.shape[0], *grid)
        for channels in self.channels:
            x = nn.relu(ConvTranspose(channels, KERNEL, strides=(2, 2))(x))
        return Conv(out_channels, KERNEL)(x)


def conv_pair(image_shape: Shape, channels: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    """An encoder and its mirror image; `channels` run from the image inwards.

    Raises:
        ValueError: if `channels` is empty or not positive, or the sides of the images are no
            multiples of 2^len(channels).
    """
    if not channels or not all(width > 0 for width in channels):
        raise ValueError(f"channels {tuple(channels)} must be one or more positive numbers")
    check_sides(image_shape, channels)
    return ConvEncoder(tuple(channels)), ConvDecoder(tuple(reversed(channels)), image_shape)


def check_sides(image_shape: Shape, channels: Sequence[int]) -> None:
    """Raises a `ValueError` unless every stride of 2 divides the sides."""
    factor = 2 ** len(channels)
    height, width, _ = image_shape
    if height % factor or width % factor:
        raise ValueError(
            f"images of {height}x{width} do not fit {len(channels)} convolutions of stride 2: "
            f"the sides must be multiples of {factor}; give fewer --channels or use --net mlp"
        )
