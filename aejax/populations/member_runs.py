"""The members of a trained population as runs of their own."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aejax.data.dataset import as_batch
from aejax.evaluation.posteriors import active_units
from aejax.populations.members import numbers
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.opening import as_run, describe
from aejax.runs.recipe import Recipe
from aejax.runs.report import leave_results
from aejax.runs.splits import Splits
from aejax.runs.train import Trained
from aejax.training.checkpoint import Checkpoint, Checkpoints
from aejax.training.members import member_state
from aejax.training.population import diverged_at
from aejax.training.state import TrainState

Record = dict[str, Any]
_OF_ALL = ("seconds", "images_per_second")  # no member has a rate of its own


class Family(NamedTuple):
    """A trained population: its members' configurations and recipes, its data, and how it ended."""

    configs: Sequence[Config]
    recipes: Sequence[Recipe]
    splits: Splits
    end: Trained


def leave_members(family: Family, names: Sequence[str]) -> list[Record]:
    """Leaves every member's own run directory.

    Returns:
        what `population.json` says of each, of the numbers with these names; one that is not finite
        is null.
    """
    folder = family.configs[0].directory() / files.MEMBERS
    configs = [
        dataclasses.replace(config, workdir=str(folder / f"{i:02d}"))
        for i, config in enumerate(family.configs)
    ]
    family = family._replace(configs=configs)
    scores, diverged = _scores(family), diverged_at(family.end.checkpoint.state, family.end.alive)
    records = []
    for i, config in enumerate(configs):
        state = member_state(family.end.checkpoint.state, i)
        _leave_run(family, i, state, scores[i], diverged[i])
        record: Record = {"seed": config.seed} | {name: numbers(config)[name] for name in names}
        record["test"] = {k: _finite(v) for k, v in _metrics(family, "test", i).items()}
        if family.end.stopped is None:
            record["results"] = _results(family, i, state)
        if family.recipes[0].has_likelihood:
            record["active_units"] = _active_units(family, state)
        if family.splits.validation is not None:
            rank = sorted(scores).index(scores[i]) + 1
            record |= {"score": _finite(scores[i]), "rank": rank}
        ends = {"diverged_at_step": diverged[i], "workdir": str(config.directory())}
        records.append(record | ends)
    return records


def _leave_run(
    family: Family, index: int, state: TrainState, score: float, diverged: int | None
) -> None:
    """A member's directory, as the run alone leaves it, less its figures."""
    config, train, end = family.configs[index], family.splits.train, family.end
    directory, steps = config.directory(), len(train) // config.batch_size
    directory.mkdir(parents=True)
    files.write_config(directory, describe(config, train))
    files.append_metrics(directory, _lines(family, index, int(state.step)))
    if diverged is None:
        totals = jax.tree.map(lambda leaf: leaf[index], end.checkpoint.totals)
        ranked = None if family.splits.validation is None else score
        with Checkpoints(directory / files.CHECKPOINTS) as checkpoints:
            checkpoints.save(Checkpoint(state, totals), ranked)
    summary = {
        "test": _metrics(family, "test", index),
        "epochs": int(state.step) // steps,
        "steps": int(state.step),
        "diverged_at_step": diverged,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
    files.write_json(directory / files.SUMMARY, summary)


def _lines(family: Family, index: int, step: int) -> list[Record]:
    """The lines of the metrics that are a member's, up to the step at which it was left."""
    return [
        {k: v[index] if isinstance(v, list) else v for k, v in line.items() if k not in _OF_ALL}
        for line in family.end.history
        if line["step"] <= step
    ]


def _metrics(family: Family, split: str, index: int) -> dict[str, float]:
    """A member's last metrics on a split; none if it was never evaluated on it."""
    lines = [line for line in family.end.history if line["split"] == split]
    return {k: v[index] for line in lines[-1:] for k, v in line.items() if isinstance(v, list)}


def _scores(family: Family) -> list[float]:
    """By member, what it is ranked by on validation images; infinite where it has none."""
    scores = []
    for i, (recipe, alive) in enumerate(zip(family.recipes, family.end.alive, strict=True)):
        metrics = _metrics(family, "validation", i)
        score = recipe.objective.score(metrics) if metrics and alive else math.inf
        scores.append(score if math.isfinite(score) else math.inf)
    return scores


def _results(family: Family, index: int, state: TrainState) -> dict[str, float | None]:
    """What the recipe measures of a member beside its metrics, as a run alone leaves it."""
    config, recipe, splits = family.configs[index], family.recipes[index], family.splits
    if not family.end.alive[index]:
        return {}
    history = files.read_metrics(config.directory())
    train = splits.train
    run = as_run(config, recipe, state, history, train.spec, train.names)
    results = leave_results(run, splits)
    return {name: _finite(value) for name, value in results.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # NaN is no JSON


def _active_units(family: Family, state: TrainState) -> int:
    some = family.splits.test.first(2000)
    batch = as_batch({key: jnp.asarray(values) for key, values in some.items()})
    variables = {"params": state.eval_params, **state.extra}
    posterior = jax.jit(family.recipes[0].model.posterior)(variables, batch)
    return int(jnp.sum(active_units(posterior)))
