"""The networks of kvfrans' "Variational Autoencoders Explained" (2016): two 5 x 5 convolutions.

Kernels begin at N(0, 0.02^2). His transposed convolutions declare biases and add none.
"""

import flax.linen as nn
import jax

from aejax.nets.layers import Conv, ConvTranspose, Shape

CHANNELS = (16, 32)
KERNEL = (5, 5)
STRIDES = (2, 2)
INIT = nn.initializers.normal(0.02)


class StridedEncoder(nn.Module):
    """Images `[B, H, W, C]` -> features `[B, H/4 W/4 32]`, leaky ReLUs of slope 0.2."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in CHANNELS:
            x = nn.leaky_relu(Conv(width, KERNEL, strides=STRIDES, kernel_init=INIT)(x), 0.2)
        return x.reshape(x.shape[0], -1)


class StridedDecoder(nn.Module):
    """Latents `[B, D]` -> outputs `[B, *image_shape]`."""

    image_shape: Shape

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        height, width, channels = self.image_shape
        grid = (height // 4, width // 4, CHANNELS[-1])
        x = nn.relu(nn.Dense(grid[0] * grid[1] * grid[2], kernel_init=INIT)(z))
        x = nn.relu(self._upwards(CHANNELS[0])(x.reshape(z.shape[0], *grid)))
        return self._upwards(channels)(x)

    def _upwards(self, features: int) -> nn.Module:
        return ConvTranspose(features, KERNEL, STRIDES, use_bias=False, kernel_init=INIT)


def strided_pair(image_shape: Shape) -> tuple[nn.Module, nn.Module]:
    """The encoder and the decoder for images of `(H, W, C)`.

    Raises:
        ValueError: if the sides are no multiples of 4.
    """
    height, width, _ = image_shape
    if height % 4 or width % 4:
        raise ValueError(
            f"images of {height}x{width} do not fit two convolutions of stride 2: give a "
            "--dataset whose sides are multiples of 4"
        )
    return StridedEncoder(), StridedDecoder(image_shape)
