"""The members of a trained population as runs of their own."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from aejax.data.dataset import Dataset, as_float
from aejax.evaluation.posteriors import active_units
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.members import numbers
from aejax.runs.recipe import Recipe
from aejax.runs.run import as_run, describe, leave_results
from aejax.runs.splits import Splits
from aejax.runs.train import checkpoint_like
from aejax.training.checkpoint import Checkpoints
from aejax.training.members import member_state
from aejax.training.population import Population

Record = dict[str, Any]


def with_test(first: Config, population: Population, tested: dict[str, list[float]]) -> Population:
    """The population with a last line of test metrics, which its own file of metrics gets too."""
    last = population.history[-1]
    line = {"step": last["step"], "epoch": last["epoch"], "split": "test"} | tested
    files.append_metrics(first.directory(), [line])
    return population._replace(history=[*population.history, line])


def member_records(
    members: Sequence[Config],
    names: Sequence[str],
    recipes: Sequence[Recipe],
    population: Population,
    splits: Splits,
    *,
    finished: bool,
) -> list[Record]:
    """What `population.json` says of each member; a number that is not finite is null.

    Results are measured of a population that is `finished`.
    """
    units = _active_units(recipes[0], population, splits.test)
    scores = _scores(recipes, population) if splits.validation is not None else None
    records = []
    for i, config in enumerate(members):
        record: Record = {"seed": config.seed} | {name: numbers(config)[name] for name in names}
        record["test"] = {k: _finite(v) for k, v in _metrics(population, "test", i).items()}
        if finished:
            record["results"] = _results(config, recipes[i], population, i, splits)
        if units is not None:
            record["active_units"] = units[i]
        if scores is not None:
            record |= {"score": _finite(scores[i]), "rank": sorted(scores).index(scores[i]) + 1}
        ends = {"diverged_at_step": population.diverged[i], "workdir": str(config.directory())}
        records.append(record | ends)
    return records


def _metrics(population: Population, split: str, index: int) -> dict[str, float]:
    """A member's last metrics on a split; none if it was never evaluated on it."""
    lines = [line for line in population.history if line["split"] == split]
    return {k: v[index] for line in lines[-1:] for k, v in line.items() if isinstance(v, list)}


def _scores(recipes: Sequence[Recipe], population: Population) -> list[float]:
    """By member, what it is ranked by on validation images; infinite where it has diverged."""
    found = [
        math.inf if at is not None else recipe.score(_metrics(population, "validation", i))
        for i, (recipe, at) in enumerate(zip(recipes, population.diverged, strict=True))
    ]
    return [score if math.isfinite(score) else math.inf for score in found]


def _results(
    config: Config, recipe: Recipe, population: Population, index: int, splits: Splits
) -> dict[str, float | None]:
    """What the recipe measures of a member beside its metrics, as a run alone leaves it."""
    if population.diverged[index] is not None or recipe.results is None:
        return {}
    state = member_state(population.states, index)
    history = files.read_metrics(config.directory())
    results = leave_results(as_run(config, recipe, state, history, splits.train), splits)
    return {name: _finite(value) for name, value in results.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # NaN is no JSON


def _active_units(recipe: Recipe, population: Population, test: Dataset) -> list[int] | None:
    model = recipe.latent_variable_model
    if model is None:
        return None
    x = as_float(jnp.asarray(test["x"][:2000]))

    @jax.jit
    def of_one(params: Any) -> jax.Array:
        return jnp.sum(active_units(model.encode(params, x)))

    count, params = len(population.diverged), population.states.eval_params
    return [int(of_one(jax.tree.map(lambda a, i=i: a[i], params))) for i in range(count)]


def leave_members(
    configs: Sequence[Config],
    recipes: Sequence[Recipe],
    population: Population,
    splits: Splits,
) -> list[Config]:
    """Leaves every member's own run directory, and returns their configurations."""
    scores = (
        _scores(recipes, population) if splits.validation is not None else [None] * len(recipes)
    )
    folder = configs[0].directory() / files.MEMBERS
    members = [
        dataclasses.replace(config, workdir=str(folder / f"{i:02d}"))
        for i, config in enumerate(configs)
    ]
    for i, (config, recipe) in enumerate(zip(members, recipes, strict=True)):
        _leave_run(config, recipe, population, i, splits.train, scores[i])
    return members


def _leave_run(
    config: Config,
    recipe: Recipe,
    population: Population,
    index: int,
    train: Dataset,
    score: float | None,
) -> None:
    directory: Path = config.directory()
    directory.mkdir(parents=True)
    files.write_config(directory, describe(config, train))
    state, steps = member_state(population.states, index), len(train) // config.batch_size
    lines = [
        {k: v[index] if isinstance(v, list) else v for k, v in line.items()}
        | {"step": line["epoch"] * steps}
        for line in population.history
        if line["epoch"] * steps <= int(state.step)
    ]
    files.append_metrics(directory, lines)
    if population.diverged[index] is None:
        with Checkpoints(directory / files.CHECKPOINTS) as checkpoints:
            like = checkpoint_like(recipe, state, train.spec)
            checkpoints.save(like, score)
    summary = {
        "test": _metrics(population, "test", index),
        "epochs": int(state.step) // steps,
        "steps": int(state.step),
        "diverged_at_step": population.diverged[index],
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
    files.write_json(directory / files.SUMMARY, summary)
