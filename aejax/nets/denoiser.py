"""A network from damaged images to clean ones that has no narrow code."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from aejax.nets.layers import Conv, Shape
from aejax.nets.superres import depth_to_space

KERNEL = (3, 3)


class Flat(nn.Module):
    """Images `[B, H, W, C]` -> codes `[B, H W C]`: the images themselves."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1)


class ResidualDenoiser(nn.Module):
    """Damaged images `[B, H W C]`, one row each -> outputs `[B, *image_shape]`.

    A convolution to half the sides, residual blocks (He et al. 2016, arXiv 1512.03385) whose
    kernels are spread wider and wider (Yu & Koltun 2016, arXiv 1511.07122), so that a pixel sees
    the whole of a small image, and a sub-pixel convolution (Shi et al. 2016, arXiv 1609.05158)
    back to the full size. Half the sides save three quarters of the time and are no narrow code: a
    place keeps `width` numbers for its four pixels from end to end.

    Attributes:
        image_shape: `(H, W, C)`.
        width: channels of the convolutions.
        dilations: of the blocks, pairs of convolutions with a connection around them.
    """

    image_shape: Shape
    width: int = 16
    dilations: Sequence[int] = (1, 2, 4)

    @nn.compact
    def __call__(self, damaged: jax.Array) -> jax.Array:
        height, width, channels = self.image_shape
        x = damaged.reshape(-1, height, width, channels)
        x = Conv(self.width, (4, 4), strides=2)(x)
        for spacing in self.dilations:
            y = Conv(self.width, KERNEL, kernel_dilation=spacing)(nn.relu(x))
            x = x + Conv(self.width, KERNEL, kernel_dilation=spacing)(nn.relu(y))
        full = depth_to_space(Conv(4 * channels, KERNEL)(nn.relu(x)), 2)
        return full[:, :height, :width]  # odd sides were rounded up


def residual_pair(image_shape: Shape) -> tuple[nn.Module, nn.Module]:
    """An encoder that keeps the damaged image as it is, and the network that restores it."""
    return Flat(), ResidualDenoiser(image_shape)
