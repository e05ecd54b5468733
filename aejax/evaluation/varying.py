"""Loops within `jax.shard_map`, which checks over which axes their values vary."""

from typing import Any

import jax


def varying_as(like: jax.Array | jax.ShapeDtypeStruct, tree: Any) -> Any:
    """A loop's first values, varying over the mapped axes that `like` varies over.

    At the loop's end they have to do so as at its beginning; constants and draws of a key that all
    devices have vary over none.
    """
    aval = jax.typeof(like) if isinstance(like, jax.Array) else like
    kind = getattr(aval, "manual_axis_type", None)  # of JAX 0.10.1; "vma" of others
    axes = set((getattr(aval, "vma", None) or ()) if kind is None else kind.varying)

    def varied(leaf: jax.Array) -> jax.Array:
        own = getattr(jax.typeof(leaf), "manual_axis_type", None)
        missing = axes - set(jax.typeof(leaf).vma if own is None else own.varying)
        return jax.lax.pcast(leaf, tuple(missing), to="varying") if missing else leaf

    return jax.tree.map(varied, tree) if axes else tree
