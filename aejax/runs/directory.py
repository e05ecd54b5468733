"""The run directory: what a run leaves on disk, written so that nothing is half there."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aejax.errors import UsageError

_PACKAGES = ("aejax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
CONFIG, METRICS = "config.json", "metrics.jsonl"
SUMMARY, EVALUATION = "summary.json", "evaluation.json"
RESULTS, POPULATION = "results.json", "population.json"
CHECKPOINTS, FIGURES, EVENTS = "checkpoints", "figures", "events"
MEMBERS = "members"
LOCK = "run.lock"


def check_directory(directory: Path, *, resume: bool) -> None:
    """Raises a `UsageError` unless a new run, or a resumed one, may use this directory."""
    holds_run = (directory / CONFIG).exists()
    if resume and not holds_run:
        raise UsageError(f"there is no run to resume in {directory}: leave --resume out")
    if resume:
        return
    if (directory / POPULATION).exists():
        raise UsageError(f"{directory} already holds a population: give another --workdir")
    if holds_run:
        raise UsageError(
            f"{directory} already holds a run: give --resume to go on with it, or another --workdir"
        )
    if directory.exists() and (not directory.is_dir() or _holds_anything(directory)):
        raise UsageError(f"{directory} exists and is no run: give another --workdir")


def _holds_anything(directory: Path) -> bool:
    """Whether there is anything but what a run that was killed as it began may leave."""
    left = {CONFIG + ".partial", LOCK}
    return any(path.name not in left for path in directory.iterdir())


@contextlib.contextmanager
def in_use(directory: Path, config: dict[str, Any] | None = None) -> Iterator[None]:
    """Within it, no other process may train in the directory; the system ends it with the process.

    With a `config`, the directory of a new run is made, or nothing is left behind.

    Raises:
        UsageError: if another process trains there, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with _made(directory):
            file = stack.enter_context((directory / LOCK).open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another process trains in {directory}: wait for it, or give another --workdir"
                ) from None
            if config is not None:
                check_directory(directory, resume=False)  # nobody else began it meanwhile
                _write_config(directory, config)
        yield


def create_directory(directory: Path, config: dict[str, Any]) -> None:
    """Makes the directory of a new run, with its `config.json`, or leaves nothing behind.

    Raises:
        UsageError: if it cannot be written.
    """
    with _made(directory):
        _write_config(directory, config)


@contextlib.contextmanager
def _made(directory: Path) -> Iterator[None]:
    """Makes the directory, and takes it away again if what is done within fails."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, UsageError) as error:
        if missing:
            shutil.rmtree(missing[-1], ignore_errors=True)
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"cannot write the run directory {directory} ({error.strerror}): "
            "give another --workdir, or make room"
        ) from error


def checkpoint_steps(directory: Path) -> list[int]:
    """The steps of the checkpoints in a run directory, without opening them."""
    folder = directory / CHECKPOINTS
    return [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]


def last_checkpoint(directory: Path) -> str:
    """What there is to go on from, said to whom a run is lost."""
    steps = checkpoint_steps(directory)
    if not steps:
        return f"no checkpoint was saved yet in {directory}"
    return (
        f"the last checkpoint, step {max(steps)}, is kept in {directory}; "
        "start all processes again with --resume"
    )


def _write_config(directory: Path, config: dict[str, Any]) -> None:
    versions = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    write_json(directory / CONFIG, config | {"versions": versions})


def read_config(directory: Path) -> dict[str, Any]:
    """The `config.json` of a run.

    Raises:
        UsageError: if there is none or it is damaged.
    """
    try:
        config = json.loads((directory / CONFIG).read_text())
        keys = ("experiment", "fields", "image_shape", "label_names", "train_images")
        return {key: config[key] for key in keys}
    except FileNotFoundError as error:
        raise UsageError(f"there is no run in {directory}: give its --workdir") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{directory / CONFIG} is damaged ({error}): restore it") from error


def write_json(path: Path, value: Any) -> None:
    """Writes JSON in whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)  # a link would lead the writing elsewhere
        partial.write_text(json.dumps(value, indent=2, allow_nan=True) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def append_metrics(directory: Path, records: Iterable[dict[str, Any]]) -> None:
    """Adds lines to `metrics.jsonl`."""
    with (directory / METRICS).open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, up to the first that is damaged.

    Raises:
        UsageError: if the file cannot be read at all.
    """
    records = []
    path = directory / METRICS
    try:
        text = path.read_text(errors="replace") if path.exists() else ""
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): restore it") from error
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not isinstance(record, dict) or not {"step", "epoch", "split"} <= record.keys():
            break
        records.append(record)
    return records


def rewind_metrics(directory: Path, step: int, steps_per_epoch: int) -> list[dict[str, Any]]:
    """Drops the lines past `step`, which resuming will write again; returns those that stay.

    Those of earlier epochs that a damaged file has lost are named on standard error.
    """
    records = [record for record in read_metrics(directory) if record["step"] <= step]
    partial = directory / (METRICS + ".partial")
    partial.unlink(missing_ok=True)  # a link would lead the writing elsewhere
    partial.write_text("".join(json.dumps(record) + "\n" for record in records))
    os.replace(partial, directory / METRICS)
    last = max((record["epoch"] for record in records), default=0)
    if last < step // steps_per_epoch:
        print(
            f"{directory / METRICS} was damaged: the lines of epochs {last + 1} to "
            f"{step // steps_per_epoch} are lost, the run is not",
            file=sys.stderr,
        )
    return records
