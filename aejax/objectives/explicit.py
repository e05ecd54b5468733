"""Losses of arrays whose mesh axes are explicit, as `jax.make_mesh` makes them."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def on_automatic_axes(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, its scalars and collections whole, on whatever axes the arguments lie.

    Draws and examples are put side by side, and pairs of rows are formed: explicit axes have no
    place for that, so within the function the compiler lays out what is between.
    """
    mesh = _explicit_mesh(args)
    if mesh is None:
        return function(*args)
    leaves, tree = jax.tree.flatten(args)
    # What Python branches on stays what it is.
    is_array = [isinstance(leaf, jax.Array) for leaf in leaves]

    def of_arrays(*arrays: jax.Array) -> Any:
        rest = iter(arrays)
        whole = [
            next(rest) if is_one else leaf for leaf, is_one in zip(leaves, is_array, strict=True)
        ]
        return function(*jax.tree.unflatten(tree, whole))

    automatic = jax.sharding.auto_axes(of_arrays, out_sharding=NamedSharding(mesh, PartitionSpec()))
    return automatic(*[leaf for leaf, is_one in zip(leaves, is_array, strict=True) if is_one])


def _explicit_mesh(args: Any) -> Any:
    for leaf in jax.tree.leaves(args):
        if isinstance(leaf, jax.Array):
            mesh = getattr(jax.typeof(leaf).sharding, "mesh", None)
            if mesh is not None and AxisType.Explicit in mesh.axis_types:
                return mesh
    return None
