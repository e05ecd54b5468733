"""The training state, and the keys that it gives."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aejax.streams import state_stream


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a training step changes, and the key that it draws from.

    Attributes:
        step: int32 scalar, the number of updates made.
        params: the model's parameters.
        opt_state: the optimiser's state.
        extra: other collections of the model (batch statistics, codebooks); `{}` for most.
        key: the run's key, never changed; step k draws from `fold_in(key, k)`.
        ema: the debiased exponential moving average of `params`, or None.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    extra: Any
    key: jax.Array
    ema: Any

    @property
    def eval_params(self) -> Any:
        """The parameters to evaluate and to use: their average where one is kept."""
        return self.params if self.ema is None else self.ema

    @classmethod
    def create(
        cls,
        params: Any,
        optimizer: optax.GradientTransformation,
        key: jax.Array,
        *,
        extra: Any = None,
        ema: bool = False,
    ) -> "TrainState":
        """The state before the first step. With `ema`, an average of later `params` is kept."""
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            extra={} if extra is None else extra,
            key=key,
            ema=jax.tree.map(jnp.copy, params) if ema else None,
        )


def step_key(state: TrainState) -> jax.Array:
    """The key of the coming step."""
    return jax.random.fold_in(state.key, state.step)


def shuffle_key(key: jax.Array, epoch: jax.Array | int) -> jax.Array:
    """The key that shuffles the given epoch of a run whose state has `key`."""
    return jax.random.fold_in(state_stream(key, "shuffle"), epoch)


def evaluation_key(key: jax.Array, batch: jax.Array | int) -> jax.Array:
    """The key for a batch of an evaluation.

    It is the same at every epoch, so that two evaluations differ by their parameters alone.
    """
    return jax.random.fold_in(state_stream(key, "evaluation"), batch)
