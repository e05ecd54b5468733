"""Many steps as one compiled call.

A call runs batches `first` to `last` of a segment, taking each from arrays on the device. The
bounds are arguments, so one compilation serves a whole epoch, an epoch in parts, the chunks of a
stream and an epoch resumed in its middle, and all give the same numbers.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.data.resident import Arrays
from aejax.training.health import goes_on
from aejax.training.members import MemberSteps, over_members
from aejax.training.sharding import on_cpu, replicated, split_kernels, split_over_batch
from aejax.training.skipping import where
from aejax.training.state import TrainState, evaluation_key, shuffle_key
from aejax.training.step import EvalStep, TrainStep
from aejax.training.totals import Totals
from aejax.types import Batch, Metrics

TrainSegment = Callable[..., tuple[TrainState, Totals]]
EvalSegment = Callable[..., Totals]
Carry = tuple[TrainState, Totals]
Take = Callable[[Arrays, jax.Array], Batch]
Update = Callable[[jax.Array, Carry], Carry]

_BLOCK = 64  # steps, at most, after which a GPU's host is asked whether more follow


@partial(jax.jit, static_argnames=("num_examples", "batch_size"))
def epoch_order(key: jax.Array, epoch: jax.Array, num_examples: int, batch_size: int) -> jax.Array:
    """The examples of each batch of an epoch, `[num_examples // batch_size, batch_size]`, int32.

    Every epoch is a fresh permutation, a function of the run's key and the epoch alone; the
    examples that fill no whole batch are left out, others each time. For the keys `[N]` of members
    their batches are side by side, `[num_examples // batch_size, N batch_size]`.
    """
    if key.ndim:
        orders = jax.vmap(lambda one: epoch_order(one, epoch, num_examples, batch_size))(key)
        return jnp.moveaxis(orders, 0, 1).reshape(orders.shape[1], -1)
    steps = num_examples // batch_size
    permutation = jax.random.permutation(shuffle_key(key, epoch), num_examples)
    return permutation[: steps * batch_size].reshape(steps, batch_size)


def layout(step: Any, state: TrainState, mesh: Mesh) -> tuple[Any, NamedSharding]:
    """Where a state and its totals lie: members are split over the devices, others as they are."""
    if isinstance(step, MemberSteps):
        split = NamedSharding(mesh, PartitionSpec("data"))
        return split, split
    return split_kernels(state, mesh), replicated(mesh)


def block_of(steps: int, mesh: Mesh) -> int:
    """Into loops of how many steps a call of up to `steps` is parted; a call is best whole blocks.

    The length of a block is known to the compiler, so that a GPU runs it without asking its host.
    Blocks are alike, so few steps are made beyond the last, for nothing. A CPU has no host to ask.
    """
    return 1 if on_cpu(mesh) else -(-steps // -(-steps // _BLOCK))


def make_train_segment(train_step: TrainStep | MemberSteps, take: Take, mesh: Mesh) -> TrainSegment:
    """Builds the jitted `(state, totals, own, arrays, first, last) -> (state, totals)`.

    State and totals are donated. After the first step whose loss is not finite, or when too many
    updates in a row were skipped, no step changes anything. `take(arrays, index)` makes the
    batches; `own` are the hyperparameters of `MemberSteps`, or ().
    """
    if isinstance(train_step, MemberSteps):

        def of_member(step: TrainStep, *rest: Any) -> Carry:
            return train_batches(step, take, mesh, *rest)

        over = over_members(train_step, of_member, mesh, shared=False)
        return jax.jit(over, donate_argnums=(0, 1))
    own_step = train_step

    def laid_out(state: TrainState) -> TrainState:
        return jax.lax.with_sharding_constraint(state, split_kernels(state, mesh))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = own_step(laid_out(state), batch)
        return laid_out(state), metrics

    def segment(state: Any, totals: Any, own: Any, arrays: Arrays, *bounds: Any) -> Carry:
        batches = _shared_out(take, mesh)
        state, totals = train_batches(step, batches, mesh, (state, totals), arrays, *bounds)
        return laid_out(state), totals

    return jax.jit(segment, donate_argnums=(0, 1))


def train_batches(
    train_step: TrainStep,
    take: Take,
    mesh: Mesh,
    carry: Carry,
    arrays: Arrays,
    first: jax.Array,
    last: jax.Array,
) -> Carry:
    """Batches `first` to `last`, or up to the first whose loss is not finite.

    On a CPU the loop ends there. Elsewhere its length is known, and what comes after changes
    nothing: the selects that this takes would cost a small model on a CPU 7% of its rate.
    """

    def update(index: jax.Array, carry: Carry) -> Carry:
        state, totals = carry
        batch = take(arrays, index)
        after, metrics = train_step(state, batch)
        return after, totals.add(metrics, float(len(batch["x"])))

    if on_cpu(mesh):
        return _until(last, update, first, carry)
    block = block_of(len(jax.tree.leaves(arrays[1])[0]), mesh)

    def masked_update(index: jax.Array, carry: Carry) -> Carry:
        going = goes_on(*carry) & (index < last)
        state, totals = where(going, _keyless(update(index, carry)), _keyless(carry))
        return dataclasses.replace(state, key=carry[0].key), totals

    blocks = (last - first + block - 1) // block
    return _in_blocks(block, blocks, masked_update, first, carry)


def _keyless(carry: Carry) -> Carry:
    """Without the run's key, which no step changes: JAX's checker takes a select for a use."""
    nothing: Any = None
    return dataclasses.replace(carry[0], key=nothing), carry[1]


def _until(last: jax.Array, update: Update, first: jax.Array, carry: Carry) -> Carry:
    """Updates `first` to `last`, by a loop that ends early."""

    def going(at: tuple[jax.Array, Carry]) -> jax.Array:
        return (at[0] < last) & goes_on(*at[1])

    return jax.lax.while_loop(going, lambda at: (at[0] + 1, update(*at)), (first, carry))[1]


def _in_blocks(
    block: int, blocks: jax.Array, update: Update, first: jax.Array, carry: Carry
) -> Carry:
    """Updates from `first` on, by so many loops of a length that the compiler knows."""

    def of_block(i: jax.Array, carry: Carry) -> Carry:
        start = first + i * block
        return jax.lax.fori_loop(0, block, lambda j, carry: update(start + j, carry), carry)

    return jax.lax.fori_loop(0, blocks, of_block, carry)


def make_eval_segment(
    eval_step: EvalStep | MemberSteps, take: Take, num_examples: int, mesh: Mesh
) -> EvalSegment:
    """Builds the jitted `(state, totals, own, arrays, first, last, offset) -> totals`.

    Totals are donated.
    """
    if isinstance(eval_step, MemberSteps):

        def of_member(step: EvalStep, *rest: Any) -> Totals:
            return evaluate_batches(step, take, num_examples, *rest)

        return jax.jit(over_members(eval_step, of_member, mesh, shared=True), donate_argnums=1)
    step, batches = eval_step, _shared_out(take, mesh)

    def segment(state: Any, totals: Any, own: Any, arrays: Arrays, *place: Any) -> Totals:
        return evaluate_batches(step, batches, num_examples, (state, totals), arrays, *place)

    return jax.jit(segment, donate_argnums=1)


def evaluate_batches(
    eval_step: EvalStep,
    take: Take,
    num_examples: int,
    carry: Carry,
    arrays: Arrays,
    first: jax.Array,
    last: jax.Array,
    offset: jax.Array,
) -> Totals:
    """The totals with batches `first` to `last`, which stand from `offset` on in the data set.

    Rows past the data set's `num_examples` fill the last batch up and are masked out.
    """
    state, totals = carry

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
