"""The loop over time of an LSTM, with gradients of its own."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

State = tuple[jax.Array, jax.Array]
"""A layer's cell and its output, `[B, width]` each."""


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def recurrence(
    recurrent: jax.Array, given: jax.Array, state: State, reverse: bool = False
) -> tuple[State, jax.Array]:
    """An LSTM's states, from the part of its gates that does not depend on them.

    Automatic differentiation leaves the products for the recurrent kernel's gradient in the loop;
    here they are one product after it. Forward mode is not provided.

    Args:
        recurrent: the kernel `[W, 4 W]`; gates are in the order input, forget, candidate, output.
        given: `[T, B, 4 W]`, what is added to outputs times kernel.
        state: the cell and the output before, `[B, W]` each.
        reverse: whether the last step is the first.

    Returns:
        the state after all steps, and the outputs `[T, B, W]`.
    """
    return _forward(recurrent, given, state, reverse)[0]


def _forward(recurrent: jax.Array, given: jax.Array, state: State, reverse: bool) -> Any:
    scale, shift = _to_sigmoids(recurrent.shape[0], given.dtype)

    def step(state: State, given: jax.Array) -> Any:
        cell, output = state
        # All gates in one pass: XLA's CPU loops over parts of a sum are slow.
        gates = scale * jnp.tanh(scale * (given + output @ recurrent)) + shift
        i, f, g, o = parts = jnp.split(gates, 4, axis=-1)
        cell = f * cell + i * g
        output = o * jnp.tanh(cell)
        return (cell, output), (output, cell, parts)

    after, (outputs, cells, gates) = jax.lax.scan(step, state, given, reverse=reverse)
    return (after, outputs), (recurrent, state, outputs, cells, gates)


def _backward(reverse: bool, kept: Any, cotangents: Any) -> tuple[jax.Array, jax.Array, State]:
    recurrent, (cell, output), outputs, cells, gates = kept
    after, of_outputs = cotangents
    outputs_before = _before(output, outputs, reverse)
    xs = (of_outputs, cells, _before(cell, cells, reverse), gates)

    def step(carry: State, now: Any) -> tuple[State, jax.Array]:
        d_cell, d_output = carry
        of_output, cell, cell_before, (i, f, g, o) = now
        squashed, d_output = jnp.tanh(cell), d_output + of_output
        d_cell = d_cell + d_output * o * (1 - squashed**2)
        d_gates = (
            d_cell * g * i * (1 - i),
            d_cell * cell_before * f * (1 - f),
            d_cell * i * (1 - g**2),
            d_output * squashed * o * (1 - o),
        )
        d_given = jnp.concatenate(d_gates, axis=-1)
        return (d_cell * f, d_given @ recurrent.T), d_given

    d_state, d_given = jax.lax.scan(step, after, xs, reverse=not reverse)
    return jnp.einsum("tbw,tbg->wg", outputs_before, d_given), d_given, d_state


recurrence.defvjp(_forward, _backward)


def _before(first: jax.Array, states: jax.Array, reverse: bool) -> jax.Array:
    """The state before each step, `[T, B, W]`."""
    if reverse:
        return jnp.concatenate([states[1:], first[None]])
    return jnp.concatenate([first[None], states[:-1]])


def _to_sigmoids(width: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """Scale and shift `[1, 4 W]` that make sigmoids of tanh, but for the candidate, the third.

    Sigmoid(x) = tanh(x / 2) / 2 + 1 / 2.
    """
    scale = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], dtype), width)[None]
    return scale, 1 - scale
