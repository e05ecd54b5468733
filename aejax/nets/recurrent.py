"""Recurrent encoder and decoder of sequences: time runs down the image, a row is a step.

Srivastava, Mansimov & Salakhutdinov 2015 (arXiv 1502.04681), section 2.2: the autoencoder's halves.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.nets.layers import Shape

CELLS: dict[str, Callable[[int], nn.RNNCellBase]] = {
    "lstm": nn.OptimizedLSTMCell,
    "gru": nn.GRUCell,
}


class RecurrentEncoder(nn.Module):
    """Sequences `[B, T, ...]` -> the cell's hidden state after the last step, `[B, width]`."""

    cell: nn.RNNCellBase

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        states: Any = nn.RNN(self.cell)(x.reshape(*x.shape[:2], -1))
        return states[:, -1]


class RecurrentDecoder(nn.Module):
    """Latents `[B, D]` -> outputs `[B, *image_shape]`: each of the H steps is given the latent.

    The state starts at zero; a linear Dense layer, the same at every step, makes the outputs.
    """

    cell: nn.RNNCellBase
    image_shape: Shape

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        steps, width, channels = self.image_shape
        repeated = jnp.repeat(z[:, None, :], steps, axis=1)
        outputs = nn.Dense(width * channels)(nn.RNN(self.cell)(repeated))
        return outputs.reshape(len(z), *self.image_shape)


def recurrent_pair(image_shape: Shape, cell: str, width: int) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder of `width` LSTM ("lstm") or GRU ("gru") cells.

    Raises:
        ValueError: if the cell is unknown or the width is not positive.
    """
    if cell not in CELLS:
        raise ValueError(f"cell {cell!r} is unknown: give {' or '.join(CELLS)}")
    if width < 1:
        raise ValueError(f"width {width} is not positive")
    make = CELLS[cell]
    return RecurrentEncoder(make(width)), RecurrentDecoder(make(width), image_shape)
