"""The run directory: what a run leaves on disk, written so that nothing is half there."""

import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from aejax.errors import UsageError

_PACKAGES = ("aejax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
FORMAT = 2  # of a run directory; raise it when what is written there changes
CONFIG, METRICS = "config.json", "metrics.jsonl"
SUMMARY, RESULTS, POPULATION = "summary.json", "results.json", "population.json"
EVALUATION, CODES = "evaluation", "codes"  # of a split at a step, see `measured_at`
CHECKPOINTS, FIGURES, EVENTS = "checkpoints", "figures", "events"
MEMBERS = "members"
DIGESTS, DAMAGED, LOCK = "digests", "damaged", "run.lock"
_UNFIT = re.compile(r"[^\w.-]+")  # for a file's name


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


def measured_at(name: str, split: str, step: int) -> str:
    """The name, less its ending, of what was found of a split by the model of a step."""
    return f"{name}_{_UNFIT.sub('_', split)}_{step}"


def write_config(directory: Path, described: dict[str, Any], step: int = 0) -> None:
    """Writes `config.json`: what the run is trained with from `step` on.

    Its "history" keeps what it was trained with before, each part with the step that it began at.
    """
    now = {"fields": described["fields"], "versions": versions()}
    earlier = [part for part in _history(directory) if part["step"] < step]
    if not earlier or any(earlier[-1][key] != now[key] for key in now):
        earlier.append({"step": step} | now)
    record = {"format": FORMAT} | described | {"versions": now["versions"], "history": earlier}
    write_json(directory / CONFIG, record)


def _history(directory: Path) -> list[dict[str, Any]]:
    """What the run was trained with before, if there is a run."""
    try:
        saved = json.loads((directory / CONFIG).read_text())
        first = {"step": 0, "fields": saved["fields"], "versions": saved.get("versions", {})}
        return saved.get("history", [first])
    except (OSError, ValueError, KeyError, AttributeError):
        return []


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a run's numbers depend on."""
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def read_config(directory: Path) -> dict[str, Any]:
    """The `config.json` of a run.

    Raises:
        UsageError: if there is none, it is damaged, or it is of another version of the directory.
    """
    try:
        config = json.loads((directory / CONFIG).read_text())
        written = config.get("format", 1)
        if written != FORMAT:
            raise UsageError(
                f"{directory} is a run directory of format {written}, which another version of "
                f"aejax wrote, and this one reads {FORMAT}: train it again"
            )
        keys = ("experiment", "fields", "arrays", "names", "train_examples")
        return {key: config[key] for key in keys}
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"there is no run in {directory}: give its --workdir") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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


def rewind_metrics(
    directory: Path, step: int, steps_per_epoch: int, dropped: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Drops the lines past `step`, which resuming will write again; returns those that stay.

    Those of the splits in `dropped` go too. The lines of earlier epochs that a damaged file has
    lost are named on standard error.
    """
    records = [
        record
        for record in read_metrics(directory)
        if record["step"] <= step and record["split"] not in dropped
    ]
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
