"""The flags of a run on several devices and in several processes."""

import re
import sys

import jax
from jax.sharding import Mesh

from aejax.errors import UsageError
from aejax.processes.processes import several
from aejax.runs.groups import DeviceFlags
from aejax.training.sharding import device_mesh

AUTO = "auto"
_LONGEST_RUN_S = 7 * 24 * 3600  # what the others wait at the end for the first one's figures


def check_distributed(flags: DeviceFlags) -> None:
    """Raises a `UsageError` for the first of these flags whose value makes no sense."""
    if flags.mesh is not None:
        _axes(flags.mesh)
        if flags.devices is not None:
            raise UsageError("--mesh and --devices both say how many devices: leave one out")
    process, count = flags.process_id, flags.num_processes
    if flags.coordinator is None or flags.coordinator == AUTO:
        if process is not None or count is not None:
            raise UsageError(
                "--process-id and --num-processes are for a --coordinator host:port: give it"
            )
        return
    if not re.fullmatch(r"[^:\s]+:\d+", flags.coordinator):
        raise UsageError(f"--coordinator {flags.coordinator} is not host:port, nor {AUTO}")
    if process is None or count is None:
        raise UsageError("--coordinator host:port needs --process-id and --num-processes")
    if count < 1 or not 0 <= process < count:
        raise UsageError(f"--process-id {process} is not one of 0 to --num-processes {count} - 1")


def connect(flags: DeviceFlags) -> None:
    """Joins the other processes, if there are any: before anything is computed.

    Raises:
        UsageError: if they cannot be reached, or on a machine that tells nothing of them.
    """
    if flags.coordinator is None or jax.distributed.is_initialized():
        return
    # SIGTERM is ours: JAX would only take note of it.
    jax.config.update("jax_enable_preemption_service", False)
    given = {
        "coordinator_address": flags.coordinator,
        "num_processes": flags.num_processes,
        "process_id": flags.process_id,
    }
    try:
        jax.distributed.initialize(
            **({} if flags.coordinator == AUTO else given),  # type: ignore[arg-type]
            initialization_timeout=120,
            shutdown_timeout_seconds=_LONGEST_RUN_S,
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise UsageError(
            f"--coordinator {flags.coordinator}: the processes do not come together ({reason})"
        ) from error
    if not jax.process_index():
        print(f"{jax.process_count()} processes, {jax.device_count()} devices", file=sys.stderr)


def coordinator_host(flags: DeviceFlags) -> str | None:
    """The host of --coordinator, or None where nobody named it."""
    named = flags.coordinator not in (None, AUTO)
    return flags.coordinator.rsplit(":", 1)[0] if named else None  # type: ignore[union-attr]


def mesh_of(flags: DeviceFlags) -> Mesh:
    """The devices of a run, by axis.

    Raises:
        UsageError: if there are not as many, or a process would be left without any.
    """
    found = len(jax.devices())
    if flags.mesh is not None:
        data, model = _axes(flags.mesh)
        name = f"--mesh {flags.mesh}"
    else:
        data, model = flags.devices or found, 1
        name = f"--devices {data}"
    if data * model > found:
        raise UsageError(f"{name} is more than the {found} devices at hand")
    if several() and data * model < found:
        raise UsageError(f"{name} leaves some of the {found} devices of all processes out")
    return device_mesh(data, model)


def _axes(text: str) -> tuple[int, int]:
    """The sizes of "data=4,model=2", either of which may be left out."""
    match = re.fullmatch(r"(?:data=([1-9]\d*))?,?(?:model=([1-9]\d*))?", text)
    if match is None or not text:
        raise UsageError(f"--mesh {text} is not data=N,model=M")
    return int(match[1] or 1), int(match[2] or 1)
