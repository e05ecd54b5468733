"""Members as one: states stacked, and a function of one member over all of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec

from aejax.training.state import TrainState

Strategy = Literal["map", "vmap"]


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
    function: Any, strategy: Strategy, mesh: Mesh, shared: int, donate: tuple[int, ...] = ()
) -> Any:
    """`function` of `shared` arguments and those of one member, jitted over all members.

    The members are split over the devices of the mesh, on each of which they go by `strategy`.
    `donate` names the arguments whose memory the results may take.
    """

    def on_device(*args: Any) -> Any:
        common, own = args[:shared], args[shared:]
        if strategy == "vmap":
            return jax.vmap(partial(function, *common))(*own)
        return jax.lax.map(lambda one: function(*common, *one), own)

    member = PartitionSpec("member")

    if mesh.size == 1:
        return jax.jit(on_device, donate_argnums=donate)

    def over(*args: Any) -> Any:
        specs = tuple(PartitionSpec() if i < shared else member for i in range(len(args)))
        mapped = jax.shard_map(
            on_device, mesh=mesh, in_specs=specs, out_specs=member, check_vma=False
        )
        return mapped(*args)

    return jax.jit(over, donate_argnums=donate)


def member_mesh(devices: int) -> Mesh:
    """A mesh of the first devices, over which members are split; `ValueError` for too many."""
    found = jax.devices()
    if not 1 <= devices <= len(found):
        raise ValueError(f"devices {devices} is not within 1 and the {len(found)} at hand")
    return jax.make_mesh(
        (devices,), ("member",), axis_types=(AxisType.Auto,), devices=found[:devices]
    )
