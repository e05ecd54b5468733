"""A run: train what a `Config` describes, or open what a run left."""

import contextlib
import dataclasses
import importlib
import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import Dataset, as_float
from aejax.errors import UsageError
from aejax.runs import directory as files
from aejax.runs.claim import check_directory, claimed
from aejax.runs.config import Config, check_config, check_resumable, from_json, to_json
from aejax.runs.distributed import connect, coordinator_host, mesh_of
from aejax.runs.lifeline import lifeline
from aejax.runs.optimisation import optimised
from aejax.runs.recipe import Recipe
from aejax.runs.splits import Splits, load_splits
from aejax.runs.train import checkpoint_like, train_run
from aejax.streams import seed_stream
from aejax.training.checkpoint import Checkpoints
from aejax.training.loop import check_batch_size, make_evaluate, make_source
from aejax.training.processes import first_alone, is_first, on_this_process
from aejax.training.sharding import device_mesh, replicated
from aejax.training.state import TrainState
from aejax.training.step import make_eval_step
from aejax.types import Spec

_ROWS = 1024  # images that encode and decode take at a time


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model, and its functions on arrays.

    Attributes:
        config: what was trained.
        recipe: the functions that it was made of.
        state: the training state at the end.
        metrics: the last metrics on the test images, nats per image.
        history: every line of `metrics.jsonl`.
        workdir: the run directory.
        spec: what one example of the data is, by name.
        label_names: the classes' names.
    """

    config: Config
    recipe: Recipe
    state: TrainState
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    workdir: Path
    spec: Spec
    label_names: tuple[str, ...]

    def encode(self, x: Any) -> np.ndarray:
        """Images `[N, H, W, C]` (uint8, or floats in [0, 1]) -> codes `[N, D]`.

        The code of a variational model is the mean of its posterior.

        Raises:
            ValueError: if the images are not of the run's size.
        """
        x = np.asarray(x)
        shape = self.spec["x"].shape
        if x.shape[1:] != shape:
            raise ValueError(f"x {list(x.shape)} is not [N, {', '.join(map(str, shape))}]")
        return self.by_rows(self.recipe.encode, x)

    def decode(self, z: Any) -> np.ndarray:
        """Codes `[N, D]` -> images `[N, H, W, C]`, the mean of the likelihood."""
        return self.by_rows(self.recipe.decode, np.asarray(z, np.float32))

    def reconstruct(self, x: Any) -> np.ndarray:
        """Images `[N, H, W, C]` -> their reconstructions, through the code."""
        return self.decode(self.encode(x))

    def sample(self, key: jax.Array, n: int) -> np.ndarray:
        """`n` images `[n, H, W, C]` decoded from draws of the prior.

        Raises:
            UsageError: if the model has no prior.
        """
        if self.recipe.sample_prior is None:
            raise UsageError(f"{self.config.name} has no prior to sample from: train a VAE")
        return self.decode(self.recipe.sample_prior(self.state.eval_params, key, n))

    def evaluate(self, data: Dataset) -> dict[str, float]:
        """The metrics' means over a data set, nats per image."""
        mesh = device_mesh(1, devices=jax.local_devices())
        source = make_source(data, mesh, stream=True)
        eval_step = make_eval_step(self.recipe.loss_fn)
        batch_size = max(2, min(len(data), self.config.batch_size))  # some losses are over pairs
        evaluate = make_evaluate(eval_step, source, batch_size=batch_size, mesh=mesh)
        # A run that has just trained is spread over its devices.
        return evaluate(jax.device_put(self.state, replicated(mesh)))

    def by_rows(self, function: Callable[[Any, jax.Array], jax.Array], x: np.ndarray) -> np.ndarray:
        """A function of (params, rows) on all rows of `x`, a thousand of them at a time."""
        compiled = jax.jit(lambda params, rows: function(params, as_float(rows)))
        parts = [
            np.asarray(compiled(self.state.eval_params, x[i : i + _ROWS]))
            for i in range(0, max(1, len(x)), _ROWS)
        ]
        return np.concatenate(parts)


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
    check_batch_size(config.batch_size, len(splits.train), mesh.shape["data"])
    recipe = build_recipe(config, splits.train.spec["x"].shape, len(splits.train))
    splits = splits.observed(recipe)
    check_labels(config, recipe, splits.train)
    state = initial_state(config, recipe, splits.train)
    first_alone(lambda: stack.enter_context(claimed(workdir, resume=resume, overwrite=overwrite)))
    described = describe(config, splits.train)
    state, history = train_run(config, recipe, state, splits, mesh, described)
    state = on_this_process(state, replicated(mesh))
    finished = as_run(config, recipe, state, history, splits.train)
    if is_first():
        _finish(finished, splits, time.perf_counter() - begun)
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
    config_class = config_class or _config_class(saved["experiment"])
    if config_class.name != saved["experiment"]:
        raise UsageError(
            f"{directory} is a run of {saved['experiment']}.py, not of {config_class.name}.py"
        )
    fields = saved["fields"] | {"workdir": str(directory)}
    config = from_json(config_class, fields)
    arrays = {key: np.zeros((1, *of["shape"]), of["dtype"]) for key, of in saved["arrays"].items()}
    names = {key: tuple(values) for key, values in saved["names"].items()}
    blank = Dataset(arrays, names, config.dataset)
    recipe = build_recipe(config, blank.spec["x"].shape, saved["train_examples"])
    state = initial_state(config, recipe, blank)
    with Checkpoints(directory / files.CHECKPOINTS) as checkpoints:
        like = checkpoint_like(recipe, state, blank.spec)
        state = checkpoints.restore(like, best=config.validation is not None).state
    history = [r for r in files.read_metrics(directory) if r["step"] <= int(state.step)]
    return as_run(config, recipe, state, history, blank)


def build_recipe(config: Config, image_shape: tuple[int, int, int], train_images: int) -> Recipe:
    """The recipe of a configuration, for images of `(H, W, C)`.

    Raises:
        UsageError: if a field's value does not fit.
    """
    try:
        recipe = config.build_for(image_shape, train_images)
        return optimised(recipe, config, config.steps(train_images))
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_labels(config: Config, recipe: Recipe, data: Dataset) -> None:
    """Raises a `UsageError` if the recipe needs labels that the data set does not have."""
    labels = data.get("label", np.full(1, -1))
    low, high = int(labels.min()), int(labels.max())
    if recipe.classes is not None and not 0 <= low <= high < recipe.classes:
        found = "no labels" if high < 0 else f"labels {low} to {high}"
        raise UsageError(
            f"--dataset {config.dataset} has {found}: {config.name}.py needs 0 to "
            f"{recipe.classes - 1}; give another, or --classes"
        )


def initial_state(config: Config, recipe: Recipe, data: Dataset) -> TrainState:
    """The state before the first step, of the configuration's seed."""
    params = jax.jit(recipe.init)(
        seed_stream(config.seed, "parameters"), jnp.zeros((1, *data.spec["x"].shape))
    )
    ema = recipe.ema_decay is not None
    key = seed_stream(config.seed, "state")
    return TrainState.create(params, recipe.optimizer, key, extra=recipe.extra, ema=ema)


def describe(config: Config, data: Dataset) -> dict[str, Any]:
    """What `config.json` says of a run, the packages' versions apart."""
    return {
        "experiment": config.name,
        "fields": to_json(dataclasses.replace(config, resume=False, overwrite=False)),
        "arrays": {
            key: {"shape": list(values.shape[1:]), "dtype": values.dtype.name}
            for key, values in data.items()
        },
        "names": {key: list(values) for key, values in data.names.items()},
        "train_examples": len(data),
    }


def as_run(
    config: Config,
    recipe: Recipe,
    state: TrainState,
    history: list[dict[str, Any]],
    data: Dataset,
) -> Run:
    """A trained model, with the metrics of its last lines on test images."""
    tests = [record for record in history if record["split"] == "test"]
    not_metrics = ("step", "epoch", "split", "seconds", "images_per_second")
    metrics = {k: v for k, v in tests[-1].items() if k not in not_metrics} if tests else {}
    workdir = config.directory()
    return Run(config, recipe, state, metrics, history, workdir, data.spec, data.label_names)


def _finish(run: Run, splits: Splits, total_seconds: float) -> None:
    """Leaves the summary, the results and the figures, and says where they are."""
    files.write_json(run.workdir / files.SUMMARY, _summary(run, total_seconds))
    if run.metrics:
        print(f"test, {len(splits.test):,} images: {run.recipe.headline(run.metrics)}")
    for name, value in leave_results(run, splits).items():
        print(f"  {name:40s} {value:.4g}")
    folder = run.workdir / files.FIGURES
    folder.mkdir(exist_ok=True)
    names = []
    for name, figure in run.recipe.figures(run, splits.test):
        figure.savefig(folder / f"{name}.png", dpi=150)
        names.append(name)
    print(f"figures in {folder}/: {', '.join(names)}")


def _summary(run: Run, total_seconds: float) -> dict[str, Any]:
    # A member of a population has no rate of its own.
    lines = [r for r in run.history if r["split"] == "train"]
    rates = [r["images_per_second"] for r in lines if "images_per_second" in r]
    return {
        "test": run.metrics,
        "epochs": max((r["epoch"] for r in lines), default=0),
        "steps": max((r["step"] for r in lines), default=0),
        "used_step": int(run.state.step),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.state.params)),
        "seconds": total_seconds,
        "images_per_second": float(np.median(rates)) if rates else None,
    }


def leave_results(run: Run, splits: Splits) -> dict[str, float]:
    """What the recipe measures beside the metrics, which it leaves in `results.json`."""
    if run.recipe.results is None:
        return {}
    results = run.recipe.results(run, splits.train, splits.test)
    files.write_json(run.workdir / files.RESULTS, results)
    return results


def _config_class(experiment: str) -> type[Config]:
    # The name comes from a file: only a module of our own experiments is ever imported.
    if not re.fullmatch(r"[a-z][a-z0-9_]*", experiment):
        raise UsageError(f"{experiment!r} is no name of an experiment")
    try:
        module = importlib.import_module(f"aejax.experiments.{experiment}")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"experiment {experiment!r} cannot be imported ({error}): give load_run its Config"
        ) from error
    return module.Config
