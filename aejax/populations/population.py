"""A population's directory: every member a run of its own, and what they say together."""

import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.populations.member_runs import Family, Record, leave_members
from aejax.populations.members import differing, numbers, with_number
from aejax.populations.report import leave_report
from aejax.runs import directory as files
from aejax.runs.claim import check_directory, claimed
from aejax.runs.config import Config, check_config, check_resumable, to_json
from aejax.runs.opening import check_data, initial_state
from aejax.runs.recipe import Recipe, build_recipe
from aejax.runs.splits import load_splits
from aejax.runs.train import Job, opened_log, streams, tested, trained, where_to_begin
from aejax.training.checkpoint import Checkpoint, Checkpoints
from aejax.training.loop import check_batch_size, metric_totals
from aejax.training.members import MemberSteps, stack_states
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import make_eval_step


def run_population(configs: Sequence[Config]) -> list[Record]:
    """Trains members that differ in seeds and numbers in one program, and leaves a directory each.

    The directory of the first holds `population.json`, `figures/` and `members/NN`, each of which
    `load_run` opens and `--resume` goes on with; and the checkpoints of all members together, from
    which `resume` goes on with the population. A member is as it is after the last epoch; with
    validation images the members are ranked by these, and tested once, at the end.

    Returns:
        what `population.json` says of each member: its seed, the numbers in which it differs, its
        last test metrics, its results, active units where it is a VAE, its rank and score on
        validation images where there are any, and the step at which it diverged.

    Raises:
        UsageError: for bad input, before the directory is made.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the members are saved as they are.
    """
    first, names, began = configs[0], differing(configs), time.perf_counter()
    workdir = first.directory()
    _check(configs)
    splits = load_splits(first)
    recipes = _recipes(configs, splits.train)
    states = _states(configs, recipes, splits.train, names)
    job = Job(
        first,
        recipes[0],
        _steps(configs, names, splits.train),
        splits.observed(first),
        data_mesh(first.devices or 1),
    )
    like = _like(job, states, names)
    with contextlib.ExitStack() as stack:
        claim = claimed(workdir, resume=first.resume, overwrite=first.overwrite)
        stack.enter_context(claim)
        checkpoints = stack.enter_context(Checkpoints(workdir / files.CHECKPOINTS))
        start, history = where_to_begin(job, like, checkpoints)
        if first.resume:
            _make_room(workdir / files.MEMBERS, int(np.max(start.state.step)))
        else:
            _leave_population(configs, names, {"members": []})
        log = stack.enter_context(opened_log(job, start))
        end = trained(job, start, history, checkpoints, log)
        if splits.validation is not None and end.stopped is None:
            line = tested(job, end.checkpoint.state, log)
            end = end._replace(history=[*end.history, line])
        records = leave_members(Family(configs, recipes, job.splits, end), names)
        seconds = time.perf_counter() - began
        _leave_population(configs, names, {"members": records, "seconds": seconds})
        leave_report(workdir, records, names, end.history)
    if end.stopped is not None:
        raise type(end.stopped)(f"{end.stopped}, or with a member alone in {workdir}/members")
    return records


def _check(configs: Sequence[Config]) -> None:
    for config in configs:
        check_config(config)
    first = configs[0]
    if first.mesh is not None or first.coordinator is not None:
        raise UsageError(
            "a population shares out its members, and no batch: give --devices in place of --mesh "
            "or --coordinator"
        )
    devices = first.devices or 1
    if devices > len(jax.devices()) or len(configs) % devices:
        raise UsageError(
            f"--devices {devices} cannot share out {len(configs)} members: give a divisor of that, "
            f"at most {len(jax.devices())}"
        )
    if first.resume:
        _check_resumable(configs)
    else:
        check_directory(first.directory(), resume=False, overwrite=first.overwrite)


def _check_resumable(configs: Sequence[Config]) -> None:
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


def _recipes(configs: Sequence[Config], train: Dataset) -> list[Recipe]:
    """The members' recipes; a `UsageError` where they cannot be trained together."""
    first = configs[0]
    # Devices that read a stream share the batches of an evaluation.
    check_batch_size(
        first.batch_size, len(train), first.devices or 1 if streams(first, train) else 1
    )
    check_data(first, train)
    recipes = [build_recipe(config, train.spec, len(train)) for config in configs]
    if first.phases(recipes[0].model) is not None:
        raise UsageError(f"{first.name}.py has a step of its own: train its members alone")
    return recipes


def _states(
    configs: Sequence[Config], recipes: Sequence[Recipe], train: Dataset, names: Sequence[str]
) -> TrainState:
    """The members' states, stacked."""
    states = [initial_state(c, r, train.spec) for c, r in zip(configs, recipes, strict=True)]
    if len({jax.tree.structure(state) for state in states}) > 1:
        raise UsageError(
            f"--sweep of {', '.join(names)} begins at 0, which leaves a part of the optimiser out: "
            "begin above it"
        )
    return stack_states(states)


def _steps(
    configs: Sequence[Config], names: Sequence[str], train: Dataset
) -> tuple[MemberSteps, MemberSteps]:
    """The steps that train and evaluate the members, whose numbers are traced."""
    own = {n: jnp.array([numbers(c)[n] for c in configs], jnp.float32) for n in names}

    def recipe_of(own: dict[str, jax.Array]) -> Recipe:
        config: Any = configs[0]
        for name, value in own.items():
            config = with_number(config, name, value)
        return build_recipe(config, train.spec, len(train))

    return (
        MemberSteps(lambda own: recipe_of(own).train_step, own),
        MemberSteps(lambda own: make_eval_step(recipe_of(own).loss_fn), own),
    )


def _like(job: Job, states: TrainState, names: Sequence[str]) -> Checkpoint:
    """The first checkpoint of a population; a `UsageError` where a number cannot be traced."""
    rows = 2 * job.recipe.parts
    try:
        totals = metric_totals(job.steps[0], states, job.splits.train.spec, rows)
    except jax.errors.JAXTypeError as error:
        raise UsageError(
            f"{', '.join(names)} cannot all differ between members of {job.config.name}.py: a "
            "check or a shape depends on one; train runs alone"
        ) from error
    return Checkpoint(states, totals)


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


def _leave_population(
    configs: Sequence[Config], names: Sequence[str], found: dict[str, Any]
) -> None:
    """Writes `population.json`: what the members are, and what was found of them."""
    record = {"numbers": names, "fields": [to_json(config) for config in configs]} | found
    files.write_json(configs[0].directory() / files.POPULATION, record)
