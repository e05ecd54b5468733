"""A population's directory: every member a run of its own, and what they say together."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aejax.data.dataset import ImageDataset, as_float
from aejax.data.tfds import load_dataset
from aejax.errors import UsageError
from aejax.evaluation.posteriors import active_units
from aejax.runs import directory as files
from aejax.runs.config import Config, check_config
from aejax.runs.members import differing, numbers, with_number
from aejax.runs.population_report import leave_report
from aejax.runs.recipe import Recipe
from aejax.runs.run import build_recipe, check_labels, describe, initial_state
from aejax.runs.train import checkpoint_like
from aejax.training.checkpoint import Checkpoints
from aejax.training.loop import check_batch_size
from aejax.training.members import member_state, stack_states
from aejax.training.population import Population, train_population

POPULATION = "population.json"
Record = dict[str, Any]


def run_population(configs: Sequence[Config]) -> list[Record]:
    """Trains members that differ in seeds and numbers in one program, and leaves a directory each.

    The directory of the first holds `population.json`, `figures/` and `members/NN`, each of which
    `load_run` opens.

    Returns:
        what `population.json` says of each member: its seed, the numbers in which it differs, its
        last test metrics, active units where it is a VAE, and the step at which it diverged.

    Raises:
        UsageError: for bad input, before the directory is made.
    """
    first = configs[0]
    names = differing(configs)
    for config in configs:
        check_config(config)
    workdir = first.directory()
    if first.resume:
        raise UsageError("--resume is not for a population: resume a member alone, in members/NN")
    files.check_directory(workdir, resume=False)
    train, test = (load_dataset(first.dataset, s, first.data_dir) for s in ("train", "test"))
    check_batch_size(first.batch_size, len(train), 1)
    recipes = [build_recipe(config, train.image_shape, len(train)) for config in configs]
    check_labels(first, recipes[0], train)
    if recipes[0].train_step is not None:
        raise UsageError(f"{first.name}.py has a step of its own: train its members alone")
    test = recipes[0].observe(test)
    files.create_directory(workdir, describe(first, train))
    states = [initial_state(c, r, train) for c, r in zip(configs, recipes, strict=True)]
    population = _trained(first, names, configs, states, train, test)
    members = [
        dataclasses.replace(config, workdir=str(workdir / "members" / f"{i:02d}"))
        for i, config in enumerate(configs)
    ]
    records = _records(members, names, recipes[0], population, test)
    for i, (config, record) in enumerate(zip(members, records, strict=True)):
        _leave_run(config, recipes[i], population, i, record, train)
    files.write_json(workdir / POPULATION, {"numbers": names, "members": records})
    leave_report(workdir, records, names, population.history)
    return records


def _trained(
    first: Config,
    names: Sequence[str],
    configs: Sequence[Config],
    states: Sequence[Any],
    train: ImageDataset,
    test: ImageDataset,
) -> Population:
    """The population after all epochs, with the lines of all of them."""
    own = {n: jnp.array([numbers(c)[n] for c in configs], jnp.float32) for n in names}

    def member(own: dict[str, jax.Array]) -> tuple[Any, Any]:
        config: Any = first
        for name, value in own.items():
            config = with_number(config, name, value)
        recipe = build_recipe(config, train.image_shape, len(train))
        return recipe.loss_fn, recipe.optimizer

    epochs: Iterator[Population] = train_population(
        stack_states(states),
        member,
        train,
        test,
        hyperparameters=own,
        epochs=first.epochs,
        batch_size=first.batch_size,
    )
    history: list[Record] = []
    try:
        for population in tqdm(epochs, f"{len(configs)} members", first.epochs, unit=" epochs"):
            history += population.history
    except jax.errors.ConcretizationTypeError as error:
        raise UsageError(
            f"{', '.join(names)} cannot all differ between members of {first.name}.py: a check or "
            "a shape depends on one; train runs alone"
        ) from error
    return population._replace(history=history)


def _records(
    members: Sequence[Config],
    names: Sequence[str],
    recipe: Recipe,
    population: Population,
    test: ImageDataset,
) -> list[Record]:
    last = population.history[-1]
    metrics = {k: v for k, v in last.items() if k not in ("epoch", "split")}
    units = _active_units(recipe, population, test)
    return [
        {"seed": config.seed}
        | {name: numbers(config)[name] for name in names}
        | {"test": {name: values[i] for name, values in metrics.items()}}
        | ({} if units is None else {"active_units": units[i]})
        | {"diverged_at_step": population.diverged[i], "workdir": str(config.directory())}
        for i, config in enumerate(members)
    ]


def _active_units(recipe: Recipe, population: Population, test: ImageDataset) -> list[int] | None:
    model = recipe.latent_variable_model
    if model is None:
        return None
    x = as_float(jnp.asarray(test.images[:2000]))

    @jax.jit
    def of_one(params: Any) -> jax.Array:
        return jnp.sum(active_units(model.encode(params, x)))

    count = len(population.diverged)
    params = population.states.params
    return [int(of_one(jax.tree.map(lambda a, i=i: a[i], params))) for i in range(count)]


def _leave_run(
    config: Config,
    recipe: Recipe,
    population: Population,
    index: int,
    record: Record,
    train: ImageDataset,
) -> None:
    """The member's own run directory."""
    directory: Path = config.directory()
    files.create_directory(directory, describe(config, train))
    state = member_state(population.states, index)
    steps = len(train) // config.batch_size
    lines = [
        {k: v[index] if isinstance(v, list) else v for k, v in line.items()}
        | {"step": line["epoch"] * steps}
        for line in population.history
    ]
    files.append_metrics(directory, lines)
    with Checkpoints(directory / files.CHECKPOINTS) as checkpoints:
        loss = record["test"]["loss"]
        checkpoint = checkpoint_like(recipe, state, train.image_shape)
        checkpoints.save(checkpoint, loss if np.isfinite(loss) else None)
    summary = {
        "test": record["test"],
        "epochs": config.epochs,
        "steps": int(state.step),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
    files.write_json(directory / files.SUMMARY, summary)
