"""An encoder of sequences of tokens, and decoders that are given z and the tokens before.

Roberts et al. 2018 (arXiv 1803.05428), sections 3.1 and 3.2. Sequences are `[B, R, T]`: R tracks of
T steps that sound together. Within the nets time is the first axis.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.nets.binding import rebound
from aejax.nets.lstm import LSTM, zero_state
from aejax.nets.recurrence import State

Choose = Callable[[jax.Array, Any], jax.Array]
"""(logits `[B, V]`, what a step is given) -> the tokens `[B]` that are written and fed."""
BEFORE = -1  # the token before the first, which is no token: a one-hot of zeros


class BidirectionalEncoder(nn.Module):
    """Tokens `[B, R, T]` -> the last outputs of an LSTM each way, `[B, 2 width]`."""

    vocabulary: int
    width: int

    @nn.compact
    def __call__(self, x: jax.Array, conditions: jax.Array | None = None) -> jax.Array:
        """Conditions are `[T, B, C]`."""
        tokens = jax.nn.one_hot(x.transpose(2, 0, 1), self.vocabulary)
        pieces = with_conditions([tokens.reshape(*tokens.shape[:2], -1)], conditions)
        start = zero_state(len(x), self.width)
        (_, forward), _ = LSTM(self.width, name="forward")(pieces, start)
        (_, backward), _ = LSTM(self.width, name="backward")(pieces, start, reverse=True)
        return jnp.concatenate([forward, backward], axis=-1)


class Stack(nn.Module):
    """Layers of LSTM whose first states are made of a vector by a Dense layer and tanh."""

    width: int
    layers: int

    def setup(self) -> None:
        self.start = nn.Dense(2 * self.layers * self.width)
        self.lstm = [LSTM(self.width) for _ in range(self.layers)]

    def begin(self, vector: jax.Array) -> list[State]:
        """The layers' states before the first step, of vectors `[B, D]`."""
        parts = jnp.split(jnp.tanh(self.start(vector)), 2 * self.layers, axis=-1)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def __call__(
        self, pieces: Sequence[jax.Array], states: Sequence[State]
    ) -> tuple[list[State], jax.Array]:
        """What LSTM reads, and the layers' states -> those after it, and outputs `[T, B, W]`."""
        after = []
        for layer, state in zip(self.lstm, states, strict=True):
            state, outputs = layer(pieces, state)
            after.append(state)
            pieces = [outputs]
        return after, outputs


class Conductor(nn.Module):
    """z `[B, D]` -> a plan of each bar, `[bars, B, width]`.

    The paper's conductor, which begins with z, is given nothing at a bar; this one is given z.
    """

    bars: int
    width: int
    layers: int = 1

    def setup(self) -> None:
        self.stack = Stack(self.width, self.layers)

    def __call__(self, z: jax.Array) -> jax.Array:
        at_each = jnp.broadcast_to(z[None], (self.bars, *z.shape))
        return self.stack([at_each], self.stack.begin(z))[1]


class Core(nn.Module):
    """p(x_t | x_<t, plan) of a track: the plan gives the first states and joins every input."""

    vocabulary: int
    width: int
    layers: int

    def setup(self) -> None:
        self.stack = Stack(self.width, self.layers)
        self.logits = nn.Dense(self.vocabulary)

    def begin(self, plan: jax.Array) -> list[State]:
        """The states before the first step, of plans `[B, C]`."""
        return self.stack.begin(plan)

    def __call__(
        self,
        plan: jax.Array,
        before: jax.Array,
        states: Sequence[State],
        conditions: jax.Array | None = None,
    ) -> tuple[list[State], jax.Array]:
        """Plans `[B, C]` and the token before each step `[S, B]` -> states, logits `[S, B, V]`."""
        pieces = with_conditions([jax.nn.one_hot(before, self.vocabulary), plan], conditions)
        states, outputs = self.stack(pieces, states)
        return states, self.logits(outputs)

    def write(
        self,
        plan: jax.Array,
        before: jax.Array,
        choose: Choose,
        given: Any,
        conditions: jax.Array | None = None,
    ) -> jax.Array:
        """Tokens `[S, B]`, one after the other: each is chosen and fed to the next step.

        Args:
            plan: `[B, C]`.
            before: the token before the first, `[B]`.
            choose: makes tokens of logits and of a step's part of `given`.
            given: a pytree with S as its first axis.
            conditions: `[S, B, C]`.
        """
        core = rebound(self)

        def step(carry: Any, now: Any) -> tuple[Any, jax.Array]:
            states, token = carry
            given, condition = now
            condition = None if condition is None else condition[None]
            states, logits = core(plan, token[None], states, condition)
            token = choose(logits[0], given).astype(jnp.int32)
            return (states, token), token

        begun = self.begin(plan), before.astype(jnp.int32)
        return jax.lax.scan(step, begun, (given, conditions))[1]


def with_conditions(pieces: list[jax.Array], conditions: jax.Array | None) -> list[jax.Array]:
    """The pieces of an input, and the conditions where there are any."""
    return pieces if conditions is None else [*pieces, conditions]
