"""Networks from small images `[B, H/f, W/f, C]` to images `[B, H, W, C]`."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.nets.layers import Conv, Shape
from aejax.nets.pooled import PoolDecoder, PoolEncoder
from aejax.nets.pooling import upsample

KERNEL = (3, 3)


class Bottleneck(nn.Module):
    """The lesson's: the small image pooled to a coarse code, which is decoded to the full size.

    3,801 parameters from 14 x 14 to 28 x 28 with the channels 16-8. At twice the size both
    sides' grids meet at 4 x 4; where they do not, the code is repeated up to the decoder's grid.
    """

    image_shape: Shape
    factor: int
    channels: Sequence[int] = (16, 8)
    decoder_channels: Sequence[int] = (8, 8, 16)

    @nn.compact
    def __call__(self, small: jax.Array) -> jax.Array:
        code = PoolEncoder(tuple(self.channels))(small)
        decoder = PoolDecoder(tuple(self.decoder_channels), self.image_shape, dense=False)
        grid = tuple(-(-side // 2 ** len(self.decoder_channels)) for side in self.image_shape[:2])
        coarse = tuple(-(-side // 2 ** len(self.channels)) for side in small.shape[1:3])
        code = code.reshape(len(small), *coarse, -1)
        times = tuple(-(-g // c) for g, c in zip(grid, coarse, strict=True))
        code = upsample(code, times)[:, : grid[0], : grid[1]]
        return decoder(code.reshape(len(small), -1))


class Residual(nn.Module):
    """The bilinear enlargement plus a residual from convolutions at the small size.

    Its last convolution gives factor^2 channels a pixel, which become factor x factor pixels: the
    sub-pixel convolution of Shi et al. 2016 (arXiv 1609.05158), equation 4.

    Attributes:
        factor: how many times larger the sides become.
        width: channels of the convolutions.
        blocks: pairs of convolutions with a connection around them.
    """

    factor: int
    width: int = 24
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
