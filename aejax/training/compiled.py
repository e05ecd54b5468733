"""Many steps as one compiled call.

A call runs batches `first` to `last` of a segment in a `while_loop`, taking each from arrays on
the device. The bounds are arguments, so one compilation serves a whole epoch, an epoch in
parts, the chunks of a stream and an epoch resumed in its middle, and all give the same numbers.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from aejax.data.resident import Arrays
from aejax.training import skipping
from aejax.training.sharding import split_kernels, split_over_batch
from aejax.training.state import TrainState, evaluation_key, shuffle_key
from aejax.training.step import EvalStep, TrainStep
from aejax.training.totals import Totals
from aejax.types import Batch, Metrics

TrainSegment = Callable[..., tuple[TrainState, Totals]]
EvalSegment = Callable[..., Totals]
Take = Callable[[Arrays, jax.Array], Batch]


@partial(jax.jit, static_argnames=("num_examples", "batch_size"))
def epoch_order(key: jax.Array, epoch: jax.Array, num_examples: int, batch_size: int) -> jax.Array:
    """The examples of each batch of an epoch, `[num_examples // batch_size, batch_size]`, int32.

    Every epoch is a fresh permutation, a function of the run's key and the epoch alone; the
    examples that fill no whole batch are left out, others each time.
    """
    steps = num_examples // batch_size
    permutation = jax.random.permutation(shuffle_key(key, epoch), num_examples)
    return permutation[: steps * batch_size].reshape(steps, batch_size)


def make_train_segment(train_step: TrainStep, take: Take, mesh: Mesh) -> TrainSegment:
    """Builds the jitted `(state, totals, arrays, first, last) -> (state, totals)`.

    State and totals are donated. It stops after the first step whose loss is not finite, or when
    too many updates in a row were skipped. `take(arrays, index)` makes the batches.
    """
    shared_out = _shared_out(take, mesh)

    def laid_out(state: TrainState) -> TrainState:
        return jax.lax.with_sharding_constraint(state, split_kernels(state, mesh))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = train_step(laid_out(state), batch)
        return laid_out(state), metrics

    def segment(
        state: TrainState, totals: Totals, arrays: Arrays, first: jax.Array, last: jax.Array
    ) -> tuple[TrainState, Totals]:
        state, totals = train_batches(step, shared_out, state, totals, arrays, first, last)
        return laid_out(state), totals

    return jax.jit(segment, donate_argnums=(0, 1))


def train_batches(
    train_step: TrainStep,
    take: Take,
    state: TrainState,
    totals: Totals,
    arrays: Arrays,
    first: jax.Array,
    last: jax.Array,
) -> tuple[TrainState, Totals]:
    """Batches `first` to `last`, or up to the first whose loss is not finite.

    A batch whose update is skipped does not count.
    """
    Carry = tuple[jax.Array, TrainState, Totals]

    def going(carry: Carry) -> jax.Array:
        index, state, totals = carry
        healthy = jnp.isfinite(totals.sums["loss"]) & ~skipping.gave_up(state.opt_state)
        return (index < last) & healthy

    def update(carry: Carry) -> Carry:
        index, state, totals = carry
        batch = take(arrays, index)
        state, metrics = train_step(state, batch)
        made = skipping.made(state.opt_state)
        weight = float(len(batch["x"])) * (1.0 if made is None else made)
        return index + 1, state, totals.add(metrics, weight)

    _, state, totals = jax.lax.while_loop(going, update, (first, state, totals))
    return state, totals


def make_eval_segment(
    eval_step: EvalStep, take: Take, num_examples: int, mesh: Mesh
) -> EvalSegment:
    """Builds the jitted `(state, totals, arrays, first, last, offset) -> totals`.

    Totals are donated.
    """
    return jax.jit(
        partial(evaluate_batches, eval_step, _shared_out(take, mesh), num_examples),
        donate_argnums=1,
    )


def evaluate_batches(
    eval_step: EvalStep,
    take: Take,
    num_examples: int,
    state: TrainState,
    totals: Totals,
    arrays: Arrays,
    first: jax.Array,
    last: jax.Array,
    offset: jax.Array,
) -> Totals:
    """The totals with batches `first` to `last`.

    Rows past the data set's `num_examples` fill the last batch up and are masked out.
    """

    def measure(index: jax.Array, totals: Totals) -> Totals:
        batch = take(arrays, index)
        size = len(batch["x"])
        position = (offset + index) * size + jnp.arange(size)
        batch = batch | {"mask": position < num_examples}
        batch["num_examples"] = jnp.int32(num_examples)
        metrics = eval_step(state, batch, evaluation_key(state.key, offset + index))
        return totals.add(metrics, jnp.sum(batch["mask"]).astype(jnp.float32))

    return jax.lax.fori_loop(first, last, measure, totals)


def _shared_out(take: Take, mesh: Mesh) -> Take:
    """`take` with each batch split over the devices."""
    sharding = split_over_batch(mesh)
    return lambda arrays, index: jax.lax.with_sharding_constraint(take(arrays, index), sharding)
