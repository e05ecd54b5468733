"""The member axis: states stacked, and steps of N models that are trained as one program."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from aejax.data.resident import Arrays
from aejax.training.sharding import on_cpu
from aejax.training.state import TrainState

Strategy = Literal["map", "vmap"]


class MemberSteps(NamedTuple):
    """The steps of N members, which the loop takes in place of the step of one model.

    Attributes:
        step_of: hyperparameters of one -> its `TrainStep`, or its `EvalStep`. It is traced once
            for all, so every number must enter as an array.
        hyperparameters: a pytree whose every leaf is `[N]` or `[N, ...]`; None or () for members
            that differ by their seeds alone.
        strategy: "map", one after the other, or "vmap", all at once. By default "map" on a CPU,
            where it is fastest, and "vmap" elsewhere.
    """

    step_of: Callable[[Any], Any]
    hyperparameters: Any
    strategy: Strategy | None = None


def stack_states(states: Sequence[TrainState]) -> TrainState:
    """The states of N members as one, every leaf with a leading axis N."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def member_state(states: TrainState, index: int) -> TrainState:
    """The state of one member."""

    def take(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf[index]
        # A state's key is folded and never used up, but the checker takes a compiled program that
        # reads it for a use: so by its data.
        data = jax.random.key_data(leaf)[index]
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))

    return jax.tree.map(take, states)


def over_members(
    members: MemberSteps, run: Callable[..., Any], mesh: Mesh, *, shared: bool
) -> Callable[..., Any]:
    """`run(step, (state, totals), arrays, *bounds)` of one member's step, over all members.

    It takes `(state, totals, own, arrays, *bounds)`. State, totals and what is a member's own have
    a leading axis N, split over the devices that share the batch of a model alone. The batches in
    `arrays` are `[S, B, ...]` where they are `shared`, else `[S, N B, ...]`, the members' own side
    by side.
    """
    strategy = members.strategy or ("map" if on_cpu(mesh) else "vmap")

    def on_device(state: TrainState, totals: Any, own: Any, arrays: Arrays, *bounds: Any) -> Any:
        count = len(state.step)

        def of_one(one: tuple[Any, ...]) -> Any:
            index, own, carry = one
            batches = arrays if shared else _own(arrays, index, count)
            return run(members.step_of(own), carry, batches, *bounds)

        each = (jnp.arange(count), own, (state, totals))
        return jax.vmap(of_one)(each) if strategy == "vmap" else jax.lax.map(of_one, each)

    def over(state: TrainState, totals: Any, own: Any, arrays: Arrays, *bounds: Any) -> Any:
        split, whole = PartitionSpec("data"), PartitionSpec()
        batches = whole if shared else PartitionSpec(None, "data")
        specs = (split, split, split, (whole, batches), *[whole for _ in bounds])
        mapped = jax.shard_map(
            on_device, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False
        )
        return mapped(state, totals, own, arrays, *bounds)

    return on_device if mesh.size == 1 else over


def _own(arrays: Arrays, index: jax.Array, count: int) -> Arrays:
    """The arrays with the batches of one of `count` members."""

    def cut(batches: jax.Array) -> jax.Array:
        size = batches.shape[1] // count
        return jax.lax.dynamic_slice_in_dim(batches, index * size, size, axis=1)

    return arrays[0], jax.tree.map(cut, arrays[1])
