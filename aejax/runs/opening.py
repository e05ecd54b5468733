"""Train what a `Config` describes, or open what a run left."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.admission import Kind, admitted
from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.processes.lifeline import lifeline
from aejax.processes.processes import first_alone, is_first, on_this_process
from aejax.registry import experiment_config
from aejax.runs import directory as files
from aejax.runs.claim import check_directory, claimed
from aejax.runs.config import Config, check_config, check_resumable, from_json, to_json
from aejax.runs.devices import connect, coordinator_host, mesh_of
from aejax.runs.recipe import Recipe, build_recipe
from aejax.runs.report import leave_report
from aejax.runs.run import Run
from aejax.runs.splits import Splits, load_splits
from aejax.runs.train import checkpoint_like, train_run
from aejax.streams import seed_stream
from aejax.training.checkpoint import Checkpoints
from aejax.training.loop import check_batch_size
from aejax.training.sharding import replicated
from aejax.training.state import TrainState
from aejax.types import Spec


def run(config: Config) -> Run:
    """Trains what `config` describes and leaves the run directory; with `resume`, goes on.

    Raises:
        UsageError: for bad input, before the run directory is made.
        DivergedError: if the loss is not finite any more.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the checkpoint is saved.
    """
    begun = time.perf_counter()
    check_config(config)
    connect(config)
    with contextlib.ExitStack() as stack:
        last_words = partial(files.last_checkpoint, config.directory())
        stack.enter_context(lifeline(coordinator_host(config), last_words))
        return _run(config, begun, stack)


def _run(config: Config, begun: float, stack: contextlib.ExitStack) -> Run:
    workdir, resume, overwrite = config.directory(), config.resume, config.overwrite
    first_alone(lambda: check_directory(workdir, resume=resume, overwrite=overwrite))
    saved = files.read_config(workdir) if config.resume else None
    if saved is not None:
        check_resumable(config, saved["fields"])
    mesh = mesh_of(config)
    splits = load_splits(config)
    train = splits.train
    check_batch_size(config.batch_size, len(train), mesh.shape["data"])
    check_data(config, train)
    recipe = build_recipe(config, train.spec, len(train))
    check_range(config, recipe, splits)
    splits = splits.observed(config)
    state = initial_state(config, recipe, train.spec)
    first_alone(lambda: stack.enter_context(claimed(workdir, resume=resume, overwrite=overwrite)))
    state, history = train_run(config, recipe, state, splits, mesh, describe(config, train))
    state = on_this_process(state, replicated(mesh))
    finished = as_run(config, recipe, state, history, train.spec, train.names)
    finished = dataclasses.replace(finished, at_rest={k: a.dtype.name for k, a in train.items()})
    if is_first():
        leave_report(finished, splits, time.perf_counter() - begun)
    return finished


def load_run(workdir: str | os.PathLike[str], config_class: type[Config] | None = None) -> Run:
    """Opens the run in `workdir` as it was when it last saved, or best by its validation images.

    Args:
        workdir: a run directory.
        config_class: the experiment's `Config`; by default that of `aejax.experiments`.

    Raises:
        UsageError: if there is no run, it is damaged, or its experiment is not known.
    """
    directory = Path(workdir)
    saved = files.read_config(directory)
    config_class = config_class or experiment_config(saved["experiment"])
    if config_class.name != saved["experiment"]:
        raise UsageError(
            f"{directory} is a run of {saved['experiment']}.py, not of {config_class.name}.py"
        )
    config = from_json(config_class, saved["fields"] | {"workdir": str(directory)})
    arrays = saved["arrays"].items()
    at_rest = {k: v["at_rest"] for k, v in arrays if "at_rest" in v}
    spec = {k: jax.ShapeDtypeStruct(tuple(v["shape"]), v["dtype"]) for k, v in arrays}
    names = {key: tuple(values) for key, values in saved["names"].items()}
    recipe = build_recipe(config, spec, saved["train_examples"])
    state = initial_state(config, recipe, spec)
    with Checkpoints(directory / files.CHECKPOINTS) as checkpoints:
        like = checkpoint_like(recipe, state, spec)
        state = checkpoints.restore(like, best=config.validation is not None).state
    history = [r for r in files.read_metrics(directory) if r["step"] <= int(state.step)]
    run = as_run(config, recipe, state, history, spec, names)
    return dataclasses.replace(run, at_rest=at_rest)


def check_data(config: Config, data: Dataset) -> None:
    """Raises a `UsageError` if a data set is not one that the experiment can be trained on."""
    try:
        config.check_examples(data)
    except ValueError as error:
        raise UsageError(f"--dataset {config.dataset} {error}") from error


def check_range(config: Config, recipe: Recipe, splits: Splits) -> None:
    """Raises a `UsageError` for an x that the likelihood is not of: not within [0, 1]."""
    if not getattr(recipe.model.likelihood, "unit", False):
        return
    for data in splits:
        try:
            if data is not None and data["x"].dtype != np.uint8:
                admitted("x", data["x"], Kind(data["x"].shape[1:], np.dtype(np.uint8)))
        except ValueError as error:
            raise UsageError(f"--dataset {config.dataset}: {error}") from error


def initial_state(config: Config, recipe: Recipe, spec: Spec) -> TrainState:
    """The state before the first step, of the configuration's seed."""
    blank = {key: jnp.zeros((1, *of.shape), of.dtype) for key, of in spec.items()}
    variables = dict(jax.jit(recipe.model.init)(seed_stream(config.seed, "parameters"), blank))
    params = variables.pop("params", {})
    return TrainState.create(
        params,
        recipe.optimizer,
        seed_stream(config.seed, "state"),
        extra=variables | recipe.objective.collections(),
        ema=recipe.ema,
    )


def describe(config: Config, data: Dataset) -> dict[str, Any]:
    """What `config.json` says of a run, the packages' versions apart."""
    return {
        "experiment": config.name,
        "fields": to_json(dataclasses.replace(config, resume=False, overwrite=False)),
        "arrays": {
            key: {
                "shape": list(of.shape),
                "dtype": np.dtype(of.dtype).name,
                "at_rest": data[key].dtype.name,
            }
            for key, of in data.spec.items()
        },
        "names": {key: list(values) for key, values in data.names.items()},
        "train_examples": len(data),
    }


def as_run(
    config: Config,
    recipe: Recipe,
    state: TrainState,
    history: list[dict[str, Any]],
    spec: Spec,
    names: Mapping[str, tuple[str, ...]],
) -> Run:
    """A trained model, with the metrics of its last lines on test examples."""
    tests = [record for record in history if record["split"] == "test"]
    not_metrics = ("step", "epoch", "split", "seconds", "images_per_second")
    metrics = {k: v for k, v in tests[-1].items() if k not in not_metrics} if tests else {}
    return Run(config, recipe, state, metrics, history, config.directory(), spec, names)
