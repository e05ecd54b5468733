"""A population's directory: every member a run of its own, and what they say together."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.runs import directory as files
from aejax.runs.claim import check_directory, claimed
from aejax.runs.config import Config, check_config
from aejax.runs.interrupt import watch_signals
from aejax.runs.member_runs import leave_members, member_records, with_test
from aejax.runs.members import differing, numbers, with_number
from aejax.runs.population_directory import (
    begin_population,
    check_resumable_population,
    leave_population,
    population_checkpoint,
)
from aejax.runs.population_report import leave_report
from aejax.runs.recipe import Recipe
from aejax.runs.run import build_recipe, check_labels, initial_state
from aejax.runs.splits import Splits, load_splits
from aejax.runs.train import is_due, streams
from aejax.training.checkpoint import Checkpoints
from aejax.training.loop import check_batch_size, metric_totals
from aejax.training.members import stack_states
from aejax.training.population import (
    Population,
    Steps,
    evaluate_population,
    train_population,
)
from aejax.training.step import EvalStep, TrainStep, make_eval_step

Record = dict[str, Any]


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
    first, names = configs[0], differing(configs)
    workdir = first.directory()
    _check(configs)
    splits = load_splits(first)
    recipes = _recipes(configs, splits)
    states = [initial_state(c, r, splits.train) for c, r in zip(configs, recipes, strict=True)]
    if len({jax.tree.structure(state) for state in states}) > 1:
        raise UsageError(
            f"--sweep of {', '.join(names)} begins at 0, which leaves a part of the optimiser out: "
            "begin above it"
        )
    own = {n: jnp.array([numbers(c)[n] for c in configs], jnp.float32) for n in names}
    steps = _steps(first, own, states[0], splits.train)
    splits = splits.observed(recipes[0])
    begun, devices = time.perf_counter(), first.devices or 1
    with contextlib.ExitStack() as stack:
        claim = claimed(workdir, resume=first.resume, overwrite=first.overwrite)
        stack.enter_context(claim)
        checkpoints = stack.enter_context(Checkpoints(workdir / files.CHECKPOINTS))
        start = begin_population(configs, names, stack_states(states), checkpoints, splits.train)
        calls = train_population(
            start.states,
            steps,
            splits.train,
            splits.watched()[1],
            hyperparameters=own,
            epochs=first.epochs,
            batch_size=first.batch_size,
            devices=devices,
            diverged=start.diverged,
        )
        population, reason = _trained(calls, start, first, checkpoints, splits.watched()[0])
        if splits.validation is not None and reason is None:
            tested = evaluate_population(
                population.states, steps, splits.test, own, first.batch_size, devices
            )
            population = with_test(first, population, tested)
        members = leave_members(configs, recipes, population, splits)
        records = member_records(
            members, names, recipes, population, splits, finished=reason is None
        )
        seconds = time.perf_counter() - begun
        leave_population(configs, names, {"members": records, "seconds": seconds})
        leave_report(workdir, records, names, population.history)
    if reason is not None:
        epoch = population.history[-1]["epoch"]
        raise reason(
            f"stopped after epoch {epoch}, saved; go on with the same flags and --resume, or with "
            f"a member alone in {workdir}/members"
        )
    return records


def _recipes(configs: Sequence[Config], splits: Splits) -> list[Recipe]:
    """The members' recipes; a `UsageError` where they cannot be trained together."""
    first, train = configs[0], splits.train
    check_batch_size(first.batch_size, len(train), 1)
    if streams(first, train):
        raise UsageError("a population keeps its images on the device: leave --data stream out")
    recipes = [build_recipe(config, train.spec["x"].shape, len(train)) for config in configs]
    check_labels(first, recipes[0], train)
    if recipes[0].train_step is not None:
        raise UsageError(f"{first.name}.py has a step of its own: train its members alone")
    return recipes


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
        check_resumable_population(configs)
    else:
        check_directory(first.directory(), resume=False, overwrite=first.overwrite)


def _steps(first: Config, own: dict[str, jax.Array], state: Any, train: Dataset) -> Steps:
    """Numbers of a member -> its steps; a `UsageError` where they cannot be traced."""

    def steps(own: dict[str, jax.Array]) -> tuple[TrainStep, EvalStep]:
        config: Any = first
        for name, value in own.items():
            config = with_number(config, name, value)
        recipe = build_recipe(config, train.spec["x"].shape, len(train))
        return recipe.step(), make_eval_step(recipe.loss_fn)

    def traced(own: dict[str, jax.Array], state: Any) -> Any:
        return metric_totals(steps(own)[0], state, train.spec, first.batch_size)

    try:
        jax.eval_shape(traced, {name: values[0] for name, values in own.items()}, state)
    except jax.errors.JAXTypeError as error:
        raise UsageError(
            f"{', '.join(own)} cannot all differ between members of {first.name}.py: a check or a "
            "shape depends on one; train runs alone"
        ) from error
    return steps


def _trained(
    calls: Iterator[Population],
    start: Population,
    first: Config,
    checkpoints: Checkpoints,
    watched: str,
) -> tuple[Population, type[KeyboardInterrupt] | None]:
    """The population with the lines of all epochs, and what stopped it before their end."""
    population, history, count = start, start.history, len(start.diverged)
    done = history[-1]["epoch"] if history else 0
    with watch_signals() as stopped:
        for population in tqdm(
            calls, f"{count} members", first.epochs, unit=" epochs", initial=done
        ):
            step = int(np.max(population.states.step))
            lines = [{"step": step} | line | _split(line, watched) for line in population.history]
            files.append_metrics(first.directory(), lines)
            history = history + lines
            reason, epoch = stopped(), lines[-1]["epoch"]
            if reason is not None or is_due(first, epoch):
                checkpoints.save(population_checkpoint(population.states), None)
            if reason is not None and epoch < first.epochs:
                return population._replace(history=history), reason
    return population._replace(history=history), None


def _split(line: Record, watched: str) -> Record:
    """The split of a line: the training's, or the one that is evaluated after every epoch."""
    return {"split": watched if line["split"] == "test" else line["split"]}
