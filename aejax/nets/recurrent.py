"""Recurrent encoder and decoder of sequences: time is the first axis of x, of an image its rows.

Srivastava, Mansimov & Salakhutdinov 2015 (arXiv 1502.04681), section 2.2: the autoencoder's halves.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

CELLS: dict[str, Callable[[int], nn.RNNCellBase]] = {
    "lstm": nn.OptimizedLSTMCell,
    "gru": nn.GRUCell,
}


class RecurrentEncoder(nn.Module):
    """Sequences `[B, T, ...]` -> the cell's hidden state after the last step, `[B, width]`.

    With a `vocabulary` they are tokens `[B, T]`, which are read as one-hot vectors.
    """

    cell: nn.RNNCellBase
    vocabulary: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.vocabulary is not None:
            x = jax.nn.one_hot(x, self.vocabulary)
        states: Any = nn.RNN(self.cell)(x.reshape(*x.shape[:2], -1))
        return states[:, -1]


class RecurrentDecoder(nn.Module):
    """Latents `[B, D]` -> outputs `[B, *shape]`: each of the T steps is given the latent.

    The state starts at zero; a linear Dense layer, the same at every step, makes the outputs.
    """

    cell: nn.RNNCellBase
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        steps, *values = self.shape
        repeated = jnp.repeat(z[:, None, :], steps, axis=1)
        outputs = nn.Dense(math.prod(values))(nn.RNN(self.cell)(repeated))
        return outputs.reshape(len(z), *self.shape)


def recurrent_pair(
    shape: tuple[int, ...], cell: str, width: int, vocabulary: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder of `width` LSTM ("lstm") or GRU ("gru") cells.

    Of sequences `(T, ...)`, or of T tokens of a vocabulary, of which the decoder gives logits.

    Raises:
        ValueError: if the cell is unknown or the width is not positive.
    """
    if cell not in CELLS:
        raise ValueError(f"cell {cell!r} is unknown: give {' or '.join(CELLS)}")
    if width < 1:
        raise ValueError(f"width {width} is not positive")
    make = CELLS[cell]
    outputs = shape if vocabulary is None else (*shape, vocabulary)
    return RecurrentEncoder(make(width), vocabulary), RecurrentDecoder(make(width), outputs)
