"""Whether a training state and its metrics are sound: what is not finite is never called good."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from aejax.errors import DivergedError
from aejax.training import skipping
from aejax.training.state import TrainState
from aejax.training.totals import Totals


def goes_on(state: TrainState, totals: Totals) -> jax.Array:
    """Whether there is a next step, a scalar bool: the losses are finite and updates are made."""
    return jnp.isfinite(totals.sums["loss"]) & ~skipping.gave_up(state.opt_state)


@jax.jit
def is_finite(state: TrainState) -> jax.Array:
    """Whether parameters, their average and the other collections are finite, a scalar bool.

    Optimisers may keep what is not: `skipping` has NaN for norms that it has not seen yet.
    """
    leaves = jax.tree.leaves((state.params, state.ema, state.extra))
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in floats], bool))


@jax.jit
def sound_members(states: TrainState, totals: Totals) -> jax.Array:
    """By member, what `check_state` asks of a state: `[N]`, bool."""
    return jax.vmap(lambda *of_one: goes_on(*of_one) & is_finite(of_one[0]))(states, totals)


def check_state(state: TrainState, loss: float) -> None:
    """Raises a `DivergedError` unless the loss and the state are finite and updates are made."""
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is not finite at step {int(state.step)}")
    if skipping.gave_up(state.opt_state):
        raise DivergedError(
            f"too many updates in a row were skipped, the last at step {int(state.step)}: "
            f"{skipping.cause(state.opt_state)}"
        )
    if not is_finite(state):
        raise DivergedError(f"the parameters are not finite after step {int(state.step)}")


def check_metrics(record: Mapping[str, Any]) -> None:
    """Raises a `DivergedError` naming the first metric of an evaluation that is not finite."""
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise DivergedError(
                f"{name} is {value} on the {record['split']} images after step {record['step']}"
            )
