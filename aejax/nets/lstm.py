"""Long short-term memory whose input products stand outside of the loop over time.

Time is the first axis here, `[T, B, D]`: it is what the loop runs over.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.nets.recurrence import State, recurrence


class Kernel(nn.Module):
    """A matrix of `columns` columns, for products that its user makes."""

    columns: int
    initializer: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, rows: int) -> jax.Array:
        """`[rows, columns]`."""
        return self.param("kernel", self.initializer, (rows, self.columns))


class LSTM(nn.Module):
    """A layer of Hochreiter & Schmidhuber 1997 with forget gates (Gers et al. 2000).

    The products of all steps' inputs are one product before the loop, in which only that of the
    recurrence is left. Kernels begin as Flax's cells do, the forget gate's bias as 1 (Jozefowicz
    et al. 2015). The gates are in the order input, forget, candidate, output.
    """

    width: int

    @nn.compact
    def __call__(
        self, pieces: Sequence[jax.Array], state: State, reverse: bool = False
    ) -> tuple[State, jax.Array]:
        """Reads a sequence.

        Args:
            pieces: what each step is given, joined: `[T, B, D]`, or `[B, D]` of the same at every
                step, which is multiplied once.
            state: that before the first step; see `zero_state`.
            reverse: whether the last step is read first.

        Returns:
            the state after all steps, and the outputs `[T, B, width]`.
        """
        bias = self.param("bias", _open_forget_gate, (4 * self.width,))
        kernel = Kernel(4 * self.width, name="inputs")(sum(p.shape[-1] for p in pieces))
        recurrent = Kernel(4 * self.width, _orthogonal_gates, name="recurrent")(self.width)

        gates = products(pieces, kernel) + bias[None, None]
        return recurrence(recurrent, gates, state, reverse)


def products(pieces: Sequence[jax.Array], kernel: jax.Array) -> jax.Array:
    """The joined pieces, `[T, B, D]` or `[B, D]` each, times `[sum of D, O]`: `[T, B, O]`."""
    ends = [sum(p.shape[-1] for p in pieces[: i + 1]) for i in range(len(pieces) - 1)]
    timed = [piece if piece.ndim == 3 else piece[None] for piece in pieces]
    terms = [p @ part for p, part in zip(timed, jnp.split(kernel, ends), strict=True)]
    return sum(terms[1:], terms[0])


def zero_state(batch: int, width: int) -> State:
    """The state before anything is read."""
    return jnp.zeros((batch, width)), jnp.zeros((batch, width))


def _orthogonal_gates(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Any:
    """A square orthogonal matrix for each gate, side by side."""
    width = shape[0]
    keys = jax.random.split(key, shape[1] // width)
    square = nn.initializers.orthogonal()
    return jnp.concatenate([square(key, (width, width), dtype) for key in keys], axis=1)


def _open_forget_gate(key: jax.Array, shape: tuple[int], dtype: Any = jnp.float32) -> Any:
    """Zeros, and ones for the second of four gates."""
    width = shape[0] // 4
    return jnp.zeros(shape, dtype).at[width : 2 * width].set(1)
