"""What a loop carries on a GPU: all small arrays as one, so that one kernel updates them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from aejax.training.sharding import split_kernels
from aejax.training.state import TrainState
from aejax.training.totals import Totals

Carry = tuple[TrainState, Totals]
Packed = tuple[list[jax.Array], dict[int, jax.Array]]

_SMALL = 4096  # numbers of an array for which a kernel of its own is mostly its launch


def packing(like: Carry, mesh: Mesh) -> tuple[Callable[[Carry], Packed], Callable[[Packed], Carry]]:
    """A way to carry all small arrays of a type as one vector, and the way back.

    So one kernel adds up all metrics and updates all small parameters, whatever the optimiser.
    """
    leaves, tree = jax.tree.flatten(_without_key(like))
    small: dict[Any, list[int]] = {}
    for i, leaf in enumerate(leaves):
        a_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        if leaf.size <= _SMALL and not a_key and split_kernels(leaf, mesh).is_fully_replicated:
            small.setdefault(leaf.dtype, []).append(i)
    unravel = [ravel_pytree([leaves[i] for i in group])[1] for group in small.values()]

    def pack(carry: Carry) -> Packed:
        rest = dict(enumerate(jax.tree.leaves(_without_key(carry))))
        vectors = [ravel_pytree([rest.pop(i) for i in group])[0] for group in small.values()]
        return vectors, rest

    def unpack(packed: Packed) -> Carry:
        vectors, found = packed[0], dict(packed[1])
        for group, of, vector in zip(small.values(), unravel, vectors, strict=True):
            found |= zip(group, of(vector), strict=True)
        state, totals = jax.tree.unflatten(tree, [found[i] for i in range(len(leaves))])
        return dataclasses.replace(state, key=like[0].key), totals

    return pack, unpack


def _without_key(carry: Carry) -> Carry:
    """Without the run's key, which no step changes."""
    nothing: Any = None
    return dataclasses.replace(carry[0], key=nothing), carry[1]
