"""The members of a trained population as runs of their own."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from aejax.data.dataset import ImageDataset, as_float
from aejax.evaluation.posteriors import active_units
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.members import numbers
from aejax.runs.recipe import Recipe
from aejax.runs.run import describe
from aejax.runs.train import checkpoint_like
from aejax.training.checkpoint import Checkpoints
from aejax.training.members import member_state
from aejax.training.population import Population

Record = dict[str, Any]


def member_records(
    members: Sequence[Config],
    names: Sequence[str],
    recipe: Recipe,
    population: Population,
    test: ImageDataset,
) -> list[Record]:
    """What `population.json` says of each member; a number that is not finite is null."""
    last = population.history[-1]
    metrics = {k: v for k, v in last.items() if k not in ("step", "epoch", "split")}
    units = _active_units(recipe, population, test)
    return [
        {"seed": config.seed}
        | {name: numbers(config)[name] for name in names}
        | {"test": {name: _finite(values[i]) for name, values in metrics.items()}}
        | ({} if units is None else {"active_units": units[i]})
        | {"diverged_at_step": population.diverged[i], "workdir": str(config.directory())}
        for i, config in enumerate(members)
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # NaN is no JSON


def _active_units(recipe: Recipe, population: Population, test: ImageDataset) -> list[int] | None:
    model = recipe.latent_variable_model
    if model is None:
        return None
    x = as_float(jnp.asarray(test.images[:2000]))

    @jax.jit
    def of_one(params: Any) -> jax.Array:
        return jnp.sum(active_units(model.encode(params, x)))

    count, params = len(population.diverged), population.states.eval_params
    return [int(of_one(jax.tree.map(lambda a, i=i: a[i], params))) for i in range(count)]


def leave_members(
    configs: Sequence[Config],
    recipes: Sequence[Recipe],
    population: Population,
    train: ImageDataset,
) -> list[Config]:
    """Leaves every member's own run directory, and returns their configurations."""
    folder = configs[0].directory() / files.MEMBERS
    members = [
        dataclasses.replace(config, workdir=str(folder / f"{i:02d}"))
        for i, config in enumerate(configs)
    ]
    for i, (config, recipe) in enumerate(zip(members, recipes, strict=True)):
        _leave_run(config, recipe, population, i, train)
    return members


def _leave_run(
    config: Config, recipe: Recipe, population: Population, index: int, train: ImageDataset
) -> None:
    directory: Path = config.directory()
    files.create_directory(directory, describe(config, train))
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
            like = checkpoint_like(recipe, state, train.image_shape)
            checkpoints.save(like, lines[-1]["loss"])
    summary = {
        "test": {k: v for k, v in lines[-1].items() if k not in ("epoch", "split", "step")}
        if lines
        else {},
        "epochs": int(state.step) // steps,
        "steps": int(state.step),
        "diverged_at_step": population.diverged[index],
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
    files.write_json(directory / files.SUMMARY, summary)
