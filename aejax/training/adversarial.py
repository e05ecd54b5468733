"""Adversarial training: losses that pull against each other, and a step that takes them in turn."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import optax

from aejax.training.state import TrainState, step_key
from aejax.training.step import TrainStep, make_train_step
from aejax.types import Batch, LossFn, Metrics


class Phase(NamedTuple):
    """One of the updates of a step.

    Attributes:
        loss_fn: see `aejax.objectives`; its metrics' names are its own among the phases.
        optimizer: this phase's own; its state covers the parts that the phase updates.
        updates: the keys of `params` whose values it updates; the others are constants to it.
    """

    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    updates: tuple[str, ...]


def make_phased_step(phases: Mapping[str, Phase]) -> TrainStep:
    """Builds the `train_step(state, batch) -> (state, metrics)` that runs the phases in order.

    Each phase sees the parameters that the phases before it left, on the same batch, and draws from
    a key of its own. `phased_optimizer(phases)` makes the optimiser's state; the metrics are those
    of all phases, each taken before its own update.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if state.ema is not None:
            raise ValueError("a step of phases keeps no average: create the state without ema")
        keys = jax.random.split(step_key(state), len(phases))
        metrics: Metrics = {}
        for index, (name, phase) in enumerate(phases.items()):
            state, found = _run_phase(name, phase, state, batch, keys[index])
            metrics = found | metrics  # the loss is the first phase's
        return dataclasses.replace(state, step=state.step + 1), metrics

    return train_step


def _run_phase(
    name: str, phase: Phase, state: TrainState, batch: Batch, key: jax.Array
) -> tuple[TrainState, Metrics]:
    """One phase: an ordinary step on its own parts, with its own optimiser's state."""
    own = {part: state.params[part] for part in phase.updates}

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        return phase.loss_fn(state.params | params, extra, batch, key, step)

    part = dataclasses.replace(state, params=own, opt_state=state.opt_state[name], key=key)
    done, metrics = make_train_step(loss_fn, phase.optimizer)(part, batch)
    whole = dataclasses.replace(
        state,
        params=state.params | done.params,
        opt_state=state.opt_state | {name: done.opt_state},
        extra=done.extra,
    )
    return whole, metrics


def phased_optimizer(phases: Mapping[str, Phase]) -> optax.GradientTransformation:
    """What `TrainState.create` needs of the phases: `init` gives {phase: its optimiser's state}.

    Its `update` raises a `TypeError`: phases have no one gradient.
    """

    def init(params: Any) -> dict[str, Any]:
        return {
            name: phase.optimizer.init({part: params[part] for part in phase.updates})
            for name, phase in phases.items()
        }

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        raise TypeError("phases have no one gradient to update by: use make_phased_step")

    return optax.GradientTransformation(init, update)


def phased_loss(phases: Mapping[str, Phase]) -> LossFn:
    """The first phase's loss, with the metrics of all phases: what an evaluation reports."""

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        keys = jax.random.split(key, len(phases))
        losses: list[jax.Array] = []
        metrics: Metrics = {}
        for index, phase in enumerate(phases.values()):
            loss, (found, extra) = phase.loss_fn(params, extra, batch, keys[index], step)
            losses.append(loss)
            metrics = found | metrics  # the loss is the first phase's
        return losses[0], (metrics, extra)

    return loss_fn
