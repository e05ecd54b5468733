"""Networks from small images `[B, H/f, W/f, C]` to images `[B, H, W, C]`."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.nets.layers import GLOROT, Conv, Shape
from aejax.nets.pooled import PoolDecoder, PoolEncoder, closing_pads

KERNEL = (3, 3)


class Bottleneck(nn.Module):
    """The lesson's: the small image pooled to a coarse code, which is decoded to the full size.

    Code and decoder meet at an eighth of the sides, so the encoder pools twice for a factor of 2
    and once, after its last convolution, for a factor of 4. Either way 28 x 28 grey images have a
    code of 4 x 4 x 8 and 3,801 parameters.

    Attributes:
        image_shape: `(H, W, C)` of the large images; see `bottleneck` for what sides fit.
        factor: how many times larger the sides become, 2 or 4.
        channels: of the encoder's convolutions.
        decoder_channels: of the decoder's, each followed by an upsampling.
    """

    image_shape: Shape
    factor: int
    channels: Sequence[int] = (16, 8)
    decoder_channels: Sequence[int] = (8, 8, 16)

    @nn.compact
    def __call__(self, small: jax.Array) -> jax.Array:
        poolings = len(self.decoder_channels) - self.factor.bit_length() + 1  # log2 of the factor
        x = small
        for width in self.channels[:-poolings]:
            x = nn.relu(Conv(width, KERNEL, kernel_init=GLOROT)(x))
        code = PoolEncoder(tuple(self.channels[-poolings:]))(x)
        return PoolDecoder(tuple(self.decoder_channels), self.image_shape, dense=False)(code)


def bottleneck(image_shape: Shape, factor: int) -> Bottleneck:
    """The lesson's network for images of `(H, W, C)`.

    Raises:
        ValueError: if three poolings and upsamplings do not restore the sides.
    """
    network = Bottleneck(image_shape, factor)
    closing_pads(image_shape, len(network.decoder_channels))
    return network


class Residual(nn.Module):
    """The bilinear enlargement plus a residual from convolutions at the small size.

    Its last convolution gives factor^2 channels a pixel, which become factor x factor pixels: the
    sub-pixel convolution of Shi et al. 2016 (arXiv 1609.05158), equation 4.

    Attributes:
        factor: how many times larger the sides become.
        width: channels of the convolutions; with 24, at factor 4, it overfits the few photographs
            of photos after ten epochs.
        blocks: pairs of convolutions with a connection around them.
    """

    factor: int
    width: int = 16
    blocks: int = 2

    @nn.compact
    def __call__(self, small: jax.Array) -> jax.Array:
        batch, height, width, channels = small.shape
        x = nn.relu(Conv(self.width, KERNEL)(small))
        for _ in range(self.blocks):
            x = x + Conv(self.width, KERNEL)(nn.relu(Conv(self.width, KERNEL)(x)))
        # Zero at first: training begins from the bilinear enlargement.
        last = Conv(channels * self.factor**2, KERNEL, kernel_init=nn.initializers.zeros)
        residual = depth_to_space(last(nn.relu(x)), self.factor)
        shape = (batch, height * self.factor, width * self.factor, channels)
        return jax.image.resize(small, shape, "bilinear") + residual


def depth_to_space(x: jax.Array, factor: int) -> jax.Array:
    """`[B, H, W, C f^2]` -> `[B, H f, W f, C]`: the channels of a pixel become f x f pixels."""
    batch, height, width, depth = x.shape
    x = x.reshape(batch, height, width, factor, factor, depth // factor**2)
    x = jnp.transpose(x, (0, 1, 3, 2, 4, 5))
    return x.reshape(batch, height * factor, width * factor, -1)
