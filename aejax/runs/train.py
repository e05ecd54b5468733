"""Training inside a run directory: the loop with its bar, log, checkpoints and way to go on."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from aejax.data.dataset import Dataset
from aejax.errors import DivergedError, UsageError
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.interrupt import REASONS, watch_signals
from aejax.runs.recipe import Recipe
from aejax.runs.splits import Splits
from aejax.training.checkpoint import Checkpoint, Checkpoints
from aejax.training.health import check_metrics
from aejax.training.loop import (
    Evaluate,
    Progress,
    epoch_records,
    make_evaluate,
    make_source,
    metric_totals,
    train,
)
from aejax.training.processes import (
    any_process,
    first_alone,
    is_first,
    on_this_process,
    placed,
    several,
)
from aejax.training.sharding import replicated, split_kernels
from aejax.training.state import TrainState
from aejax.training.step import make_eval_step
from aejax.types import Spec

RESIDENT_SHARE = 4  # data up to a quarter of the memory stays resident

History = list[dict[str, Any]]


def train_run(
    config: Config,
    recipe: Recipe,
    state: TrainState,
    splits: Splits,
    mesh: Mesh,
    described: dict[str, Any],
) -> tuple[TrainState, History]:
    """Trains, or goes on training, in `config.directory()`; returns the state and the history.

    With validation images, the state is the best by them, and is tested once, at the end.
    `described` is what `config.json` says of the run.

    Raises:
        DivergedError: if a loss, a parameter or a metric is not finite any more; its text names the
            last good checkpoint.
        KeyboardInterrupt: after Ctrl-C, or `Terminated`, after SIGTERM, once the checkpoint is
            saved; its text says how to go on.
    """
    from aejax.runs.progress import Log

    workdir, batch_size = config.directory(), config.batch_size
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(workdir / files.CHECKPOINTS))
        checkpoint, history = _start(config, recipe, state, splits, mesh, checkpoints)
        first_step = int(checkpoint.state.step)
        first_alone(lambda: files.write_config(workdir, described, first_step))
        stream = streams(config, splits.train)
        source = make_source(splits.train, mesh, stream=stream)
        split, watched = splits.watched()
        evaluate = _evaluation(config, recipe, watched, mesh)
        calls = train(
            checkpoint.state,
            recipe.step(),
            source,
            epochs=config.epochs,
            batch_size=batch_size,
            mesh=mesh,
            totals=checkpoint.totals,
        )
        state = checkpoint.state
        if is_first():
            log = stack.enter_context(Log(config, len(splits.train) // batch_size, first_step))
        stopped = stack.enter_context(watch_signals())
        try:
            for progress in calls:
                state = progress.state
                if is_first():
                    log.show(progress)
                if progress.epoch_done:
                    records = epoch_records(progress, evaluate, split)
                    history += records
                    params = on_this_process(progress.state.eval_params, replicated(mesh))
                    if is_first():
                        log.write(records)
                        _draw_epoch(recipe, params, progress.epoch, watched, workdir)
                    score = recipe.score(records[-1]) if split == "validation" else None
                    if is_due(config, progress.epoch) or _is_best(checkpoints, score):
                        checkpoints.save(_checkpoint(progress), score)
                reason = REASONS[any_process(REASONS.index(stopped()))]
                if reason is not None and not _is_last(config, progress):
                    checkpoints.save(_checkpoint(progress), None)
                    raise reason(_how_to_go_on(config, progress))
        except DivergedError as error:
            raise DivergedError(f"{error}: {_last_good(config, checkpoints)}") from None
        if splits.validation is None:
            return state, history
        best = checkpoints.restore(_laid_out(checkpoint, mesh), best=True).state
        history.append(_tested(config, recipe, best, splits, mesh))
        if is_first():
            log.write(history[-1:])
        return best, history


def _evaluation(config: Config, recipe: Recipe, data: Dataset, mesh: Mesh) -> Evaluate:
    source = make_source(data, mesh, stream=streams(config, data))
    eval_step = make_eval_step(recipe.loss_fn)
    return make_evaluate(eval_step, source, batch_size=config.batch_size, mesh=mesh)


def _is_best(checkpoints: Checkpoints, score: float | None) -> bool:
    best = checkpoints.best()
    return score is not None and (best is None or score < best[1])


def _tested(
    config: Config, recipe: Recipe, state: TrainState, splits: Splits, mesh: Mesh
) -> dict[str, Any]:
    """The line of the metrics that a state has on the test images."""
    means = _evaluation(config, recipe, splits.test, mesh)(state)
    step, steps_per_epoch = int(state.step), len(splits.train) // config.batch_size
    record = {"step": step, "epoch": step // steps_per_epoch, "split": "test"} | means
    check_metrics(record)
    return record


def checkpoint_like(recipe: Recipe, state: TrainState, spec: Spec) -> Checkpoint:
    """A checkpoint of the structure that this recipe's runs save."""
    return Checkpoint(state, metric_totals(recipe.step(), state, spec, 2 * recipe.accumulate))


def streams(config: Config, dataset: Dataset) -> bool:
    """Whether the data is streamed: as asked, or when it would fill too much of the memory."""
    if several():  # each reads its own part
        if config.data == "resident":
            raise UsageError("--data resident is for one process: several stream their parts")
        return True
    if config.data != "auto":
        return config.data == "stream"
    stats = jax.devices()[0].memory_stats() or {}
    host_memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = sum(values.nbytes for _, values in dataset.items())
    return size > stats.get("bytes_limit", host_memory) // RESIDENT_SHARE


def _start(
    config: Config,
    recipe: Recipe,
    state: TrainState,
    splits: Splits,
    mesh: Mesh,
    checkpoints: Checkpoints,
) -> tuple[Checkpoint, History]:
    """Where to begin: the last good checkpoint of a resumed run, or `state`."""
    start = checkpoint_like(recipe, state, splits.train.spec)
    if not config.resume:
        return start, []
    if checkpoints.steps():
        start = checkpoints.restore(_laid_out(start, mesh))
    directory, step = config.directory(), int(start.state.step)
    dropped = () if splits.validation is None else ("test",)  # it is tested again at its end
    steps = len(splits.train) // config.batch_size
    first_alone(lambda: files.rewind_metrics(directory, step, steps, dropped))
    return start, files.read_metrics(directory)


def _laid_out(checkpoint: Checkpoint, mesh: Mesh) -> Checkpoint:
    """The checkpoint as the devices of the mesh hold it."""
    state = placed(checkpoint.state, split_kernels(checkpoint.state, mesh))
    return Checkpoint(state, placed(checkpoint.totals, replicated(mesh)))


def _draw_epoch(recipe: Recipe, params: Any, epoch: int, test_data: Dataset, workdir: Path) -> None:
    if recipe.epoch_figures is None:
        return
    folder = workdir / files.FIGURES / "epochs"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in recipe.epoch_figures(params, test_data):
        figure.savefig(folder / f"{name}_{epoch:03d}.png", dpi=150)


def _checkpoint(progress: Progress) -> Checkpoint:
    # Between epochs there is nothing to add up: the finished epoch is in metrics.jsonl.
    totals = progress.totals
    return Checkpoint(
        progress.state, jax.tree.map(jnp.zeros_like, totals) if progress.epoch_done else totals
    )


def is_due(config: Config, epoch: int) -> bool:
    """Whether a checkpoint is saved at the end of an epoch."""
    return epoch % config.checkpoint_every == 0 or epoch == config.epochs


def _is_last(config: Config, progress: Progress) -> bool:
    return progress.epoch == config.epochs and progress.epoch_done


def _how_to_go_on(config: Config, progress: Progress) -> str:
    script = sys.argv[0] if sys.argv[0].endswith(".py") else f"{config.name}.py"
    return (
        f"stopped in epoch {progress.epoch} at step {int(progress.state.step)}, saved; go on with "
        f"the same flags and --resume: python {script} --workdir {config.directory()} ... --resume"
    )


def _last_good(config: Config, checkpoints: Checkpoints) -> str:
    steps = checkpoints.steps()
    kept = f"the last good checkpoint, step {steps[-1]}, is kept" if steps else "none was saved yet"
    return f"{kept} in {config.directory()}; a lower --learning-rate may help"
