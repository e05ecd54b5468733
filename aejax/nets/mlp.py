"""Dense encoder and decoder."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from aejax.nets.layers import GLOROT, Shape, num_elements

Activation = Callable[[jax.Array], jax.Array]


class MLPEncoder(nn.Module):
    """Images `[B, H, W, C]` -> features `[B, hidden[-1]]`: flatten, then Dense layers."""

    hidden: Sequence[int]
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = self.activation(nn.Dense(width, kernel_init=GLOROT)(x))
        return x


class MLPDecoder(nn.Module):
    """Latents `[B, D]` -> outputs `[B, *image_shape]`: Dense layers, the last one linear."""

    hidden: Sequence[int]
    image_shape: Shape
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        for width in self.hidden:
            z = self.activation(nn.Dense(width, kernel_init=GLOROT)(z))
        outputs = nn.Dense(num_elements(self.image_shape), kernel_init=GLOROT)(z)
        return outputs.reshape(z.shape[0], *self.image_shape)


def mlp_pair(
    image_shape: Shape, hidden: Sequence[int], activation: Activation = nn.relu
) -> tuple[nn.Module, nn.Module]:
    """An encoder and its mirror image for images of any `(H, W, C)`.

    Raises:
        ValueError: if a width is not positive.
    """
    if not all(width > 0 for width in hidden):
        raise ValueError(f"hidden {tuple(hidden)} has a width that is not positive")
    encoder = MLPEncoder(tuple(hidden), activation)
    return encoder, MLPDecoder(tuple(reversed(hidden)), image_shape, activation)
