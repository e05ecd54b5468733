"""What a population leaves on disk of itself, and how it goes on from there."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.runs import directory as files
from aejax.runs.config import Config, check_resumable, to_json
from aejax.training.checkpoint import Checkpoint, Checkpoints
from aejax.training.population import Population, diverged_at
from aejax.training.state import TrainState
from aejax.training.totals import zero_totals


def leave_population(
    configs: Sequence[Config], names: Sequence[str], found: dict[str, Any]
) -> None:
    """Writes `population.json`: what the members are, and what was found of them."""
    record = {"numbers": names, "fields": [to_json(config) for config in configs]} | found
    files.write_json(configs[0].directory() / files.POPULATION, record)


def population_checkpoint(states: TrainState) -> Checkpoint:
    """What is saved of a population, always at the end of an epoch."""
    return Checkpoint(states, zero_totals({"loss": jnp.zeros(())}))


def check_resumable_population(configs: Sequence[Config]) -> None:
    """Raises a `UsageError` unless the directory holds a population of these members."""
    path = configs[0].directory() / files.POPULATION
    try:
        saved = json.loads(path.read_text())["fields"]
        count = len(saved)
    except FileNotFoundError:
        raise UsageError(
            f"there is no population to resume in {path.parent}: leave --resume out"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error}): restore it") from error
    if count != len(configs):
        raise UsageError(f"{path.parent} holds {count} members, not {len(configs)}: give its flags")
    for config, fields in zip(configs, saved, strict=True):
        check_resumable(config, fields)


def begin_population(
    configs: Sequence[Config],
    names: Sequence[str],
    states: TrainState,
    checkpoints: Checkpoints,
    train: Dataset,
) -> Population:
    """The population before its first epoch, or as it was last saved."""
    first, count = configs[0], len(configs)
    if not first.resume:
        leave_population(configs, names, {"members": []})
        return Population(states, [], [None] * count)
    if checkpoints.steps():
        states = checkpoints.restore(population_checkpoint(states)).state
    done = int(np.max(states.step))
    steps = len(train) // first.batch_size
    dropped = () if first.validation is None else ("test",)  # the members are tested at their end
    history = files.rewind_metrics(first.directory(), done, steps, dropped)
    _make_room(first.directory() / files.MEMBERS, done)
    alive = np.asarray(states.step) == done
    for line in history:
        alive &= np.isfinite(line["loss"])
    return Population(states, history, diverged_at(states, alive))


def _make_room(members: Path, done: int) -> None:
    """Takes the members that an earlier stop left away, unless one went on alone."""
    for folder in members.glob("*"):
        steps = files.checkpoint_steps(folder)
        if max(steps, default=0) > done:
            raise UsageError(
                f"{folder} went on alone to step {max(steps)}, past the population's {done}: "
                "move it away"
            )
    shutil.rmtree(members, ignore_errors=True)
