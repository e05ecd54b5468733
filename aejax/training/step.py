"""One update, one evaluation: pure functions of a state and a batch, jitted by the caller."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aejax.training import skipping
from aejax.training.accumulation import accumulated
from aejax.training.state import TrainState, evaluation_key, step_key
from aejax.training.totals import APPLIED
from aejax.types import Batch, LossFn, Metrics, WholeBatch

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[..., Metrics]
_VALUE = "the loss that optimisers are told"
EvalParams = Callable[[TrainState], Any]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    axis_name: str | None = None,
    ema_decay: float = 0.999,
    accumulate: int = 1,
) -> TrainStep:
    """Builds `train_step(state, batch) -> (state, metrics)`.

    Without `axis_name` the step is a global view: jit it, over sharded arrays if you like. With
    it, the step averages loss, gradients and metrics over that mapped axis, for `jax.pmap` and
    `jax.shard_map`, and each device draws its own noise. Donate the state only. A loss that is no
    mean over the examples, a `WholeBatch`, is still that of the whole batch. The batch that the
    loss sees has "train", True here and False in an evaluation.

    An optimiser that skips updates (see `skipping`, or `optax.apply_if_finite`) may stand anywhere
    in a chain: where it did, parameters, `extra` and average stay as they are, and the metric
    "applied" is 0, else 1.

    Args:
        loss_fn: see `aejax.objectives`.
        optimizer: an Optax transformation; one that asks for them is given the loss as `value`, the
            gradient as `grad` and the loss of other parameters on this batch as `value_fn` and
            `obj_fn`. What cannot be one is said in `aejax/README.md`, "Optimisers".
        axis_name: the mapped axis that the batch is split over.
        ema_decay: d of the average, where the state has an `ema`; see `debiased_rate`.
        accumulate: into how many parts, one after the other, the batch is shared out to take its
            gradient in less memory; see `accumulated`.

    Raises:
        ValueError: if a `WholeBatch` is to be accumulated.
    """
    if isinstance(loss_fn, WholeBatch):
        if accumulate > 1:
            raise ValueError(
                f"accumulate {accumulate} would train another objective: this loss is no mean over "
                "the examples; leave it at 1 and take a smaller batch, or more devices"
            )
        loss_fn = loss_fn.over(axis_name)

    update = optax.with_extra_args_support(optimizer).update
    asked = _asked_for(update)

    def mean_over_axis(tree: Any) -> Any:
        if axis_name is None:
            return tree
        # Counters are the same on every device, and would become floats.
        return jax.tree.map(
            lambda leaf: (
                jax.lax.pmean(leaf, axis_name)
                if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
                else leaf
            ),
            tree,
        )

    def device_key(state: TrainState) -> jax.Array:
        key = step_key(state)
        return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))

    def global_loss(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        # After the batch was parted, so that it stays what Python can branch on.
        batch = batch | {"train": True}
        loss, (metrics, extra) = loss_fn(params, extra, batch, key, step)
        loss = mean_over_axis(loss)
        metrics = mean_over_axis(metrics) | {_VALUE: jax.lax.stop_gradient(loss)}
        return loss, (metrics, mean_over_axis(extra))

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradient = accumulated(jax.grad(global_loss, has_aux=True), accumulate)
        rest = state.extra, batch, device_key(state), state.step
        grads, (metrics, extra) = gradient(state.params, *rest)
        # The mean inside the loss is what shard_map differentiates; under pmap its transpose
        # leaves each device its own gradient, and this second mean, elsewhere without effect,
        # averages them.
        grads = mean_over_axis(grads)

        # Optax's line searches refuse what `value_fn` does not take.
        def value_fn(params: Any, obj_fn: Any = None) -> jax.Array:
            return global_loss(params, *rest)[0]

        others = {"value": metrics.pop(_VALUE), "grad": grads}
        others |= {"value_fn": value_fn, "obj_fn": value_fn}
        others = {name: others[name] for name in asked & others.keys()}
        updates, opt_state = update(grads, state.opt_state, state.params, **others)
        params = optax.apply_updates(state.params, updates)
        made = skipping.made(opt_state, state.step + 1)
        ema = state.ema
        if ema is not None:
            count = state.step + 1 if made is None else jnp.maximum(made[1], 1)
            ema = optax.incremental_update(params, ema, debiased_rate(ema_decay, count))
        if made is not None:
            # Optax's own keeps the parameters, or gives up and takes what is not finite.
            kept = params if skipping.guard(opt_state) is None else state.params
            before = (kept, state.extra, state.ema)
            params, extra, ema = skipping.where(made[0], (params, extra, ema), before)
            metrics = metrics | {APPLIED: made[0].astype(jnp.float32)}
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, opt_state=opt_state, extra=extra, ema=ema
        )
        return state, metrics

    return train_step


def debiased_rate(decay: float, count: jax.Array) -> jax.Array:
    """How much of the `count`-th update's parameters a debiased average takes in: (1-d)/(1-d^n).

    The average is then m_n / (1 - d^n) with m_n = d m_(n-1) + (1 - d) p_n and m_0 = 0, that of Adam
    and of `optax.ema(decay, debias=True)`: the first is the first parameters, with no trace of the
    initial ones.

    Args:
        decay: d, from 0 to below 1.
        count: n, from 1.
    """
    # 1 - d^n = -expm1(n log1p(d - 1)) keeps its digits where d is near 1; at d = 0 it is 1.
    return (1 - decay) / -jnp.expm1(count * jnp.log1p(decay - 1))


def _asked_for(update: Callable[..., Any]) -> frozenset[str]:
    """Which of the arguments that a step has beside Optax's own an update takes."""
    parameters = inspect.signature(update).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return frozenset({"value", "grad", "value_fn", "obj_fn"})
    return frozenset(parameters)


def average_or_params(state: TrainState) -> Any:
    """The parameters to evaluate where nothing else is said: `TrainState.eval_params`."""
    return state.eval_params


def make_eval_step(loss_fn: LossFn, eval_params: EvalParams = average_or_params) -> EvalStep:
    """Builds `eval_step(state, batch, key=None) -> metrics`, the same means without an update.

    They are those of the averaged parameters where the state keeps an average. An optimiser whose
    parameters to use are others says which by `eval_params`, of schedule-free ones
    `lambda state: optax.contrib.schedule_free_eval_params(state.opt_state, state.params)`.

    Rows where `batch["mask"]` is False do not count. Without a key, the noise is that of the
    evaluation's first batch, the same at every call.
    """

    def eval_step(state: TrainState, batch: Batch, key: jax.Array | None = None) -> Metrics:
        key = evaluation_key(state.key, 0) if key is None else key
        batch = batch | {"train": False}
        _, (metrics, _) = loss_fn(eval_params(state), state.extra, batch, key, state.step)
        return metrics

    return eval_step
