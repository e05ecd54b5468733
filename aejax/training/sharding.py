"""Where arrays live when several devices share the batch, and wide layers."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

WIDE = 128  # columns of a kernel from which on splitting it pays for what must be sent


def device_mesh(data: int, model: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of the first `data x model` devices: images are split over "data", kernels "model".

    Raises:
        ValueError: if there are fewer devices.
    """
    found = jax.devices() if devices is None else devices
    count = data * model
    if min(data, model) < 1 or count > len(found):
        raise ValueError(f"devices {count} is not within 1 and the {len(found)} at hand")
    axes = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((data, model), ("data", "model"), axis_types=axes, devices=found[:count])


def data_mesh(num_devices: int | None = None) -> Mesh:
    """A mesh of the first `num_devices` devices (all, if None), which share the batch.

    Raises:
        ValueError: if there are fewer devices.
    """
    return device_mesh(len(jax.devices()) if num_devices is None else num_devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices that share the batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def split_kernels(tree: Any, mesh: Mesh) -> Any:
    """The shardings of a state: kernels of `WIDE` columns or more split by these, the rest whole.

    The optimiser's moments and an average are of the parameters' shapes, and so lie beside them.
    """
    parts = mesh.shape["model"]

    def sharding(leaf: jax.Array) -> NamedSharding:
        columns = leaf.shape[-1] if jnp.ndim(leaf) > 1 else 0
        if parts == 1 or columns < WIDE or columns % parts:
            return replicated(mesh)
        return NamedSharding(mesh, PartitionSpec(*[None] * (jnp.ndim(leaf) - 1), "model"))

    return jax.tree.map(sharding, tree)


def on_cpu(mesh: Mesh) -> bool:
    """Whether the devices of a mesh are CPUs: what is compiled for them is chosen by this."""
    return mesh.devices.flat[0].platform == "cpu"
