"""Training inside a run directory: the loop with its bar, log, checkpoints and way to go on."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from aejax.data.dataset import ImageDataset
from aejax.errors import DivergedError, UsageError
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.interrupt import REASONS, watch_signals
from aejax.runs.recipe import Recipe
from aejax.training.checkpoint import Checkpoint, Checkpoints
from aejax.training.loop import (
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

RESIDENT_SHARE = 4  # data up to a quarter of the memory stays resident

History = list[dict[str, Any]]


def train_run(
    config: Config,
    recipe: Recipe,
    state: TrainState,
    train_data: ImageDataset,
    test_data: ImageDataset,
    mesh: Mesh,
) -> tuple[TrainState, History]:
    """Trains, or goes on training, in `config.directory()`; returns the state and the history.

    Raises:
        DivergedError: if the loss is not finite any more; its text names the last good checkpoint.
        KeyboardInterrupt: after Ctrl-C, or `Terminated`, after SIGTERM, once the checkpoint is
            saved; its text says how to go on.
    """
    from aejax.runs.progress import Log

    workdir, batch_size = config.directory(), config.batch_size
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(workdir / files.CHECKPOINTS))
        checkpoint, history = _resume(config, recipe, state, train_data, mesh, checkpoints)
        stream = streams(config, train_data)
        source = make_source(train_data, mesh, stream=stream)
        test_source = make_source(test_data, mesh, stream=stream)
        eval_step = make_eval_step(recipe.loss_fn)
        evaluate = make_evaluate(eval_step, test_source, batch_size=batch_size, mesh=mesh)
        calls = train(
            checkpoint.state,
            recipe.step(),
            source,
            epochs=config.epochs,
            batch_size=batch_size,
            mesh=mesh,
            totals=checkpoint.totals,
        )
        state, step = checkpoint.state, int(checkpoint.state.step)
        if is_first():
            log = stack.enter_context(Log(config, len(train_data) // batch_size, step))
        stopped = stack.enter_context(watch_signals())
        try:
            for progress in calls:
                state = progress.state
                if is_first():
                    log.show(progress)
                if progress.epoch_done:
                    records = epoch_records(progress, evaluate)
                    history += records
                    params = on_this_process(progress.state.eval_params, replicated(mesh))
                    if is_first():
                        log.write(records)
                        _draw_epoch(recipe, params, progress.epoch, test_data, workdir)
                    if is_due(config, progress.epoch):
                        checkpoints.save(_checkpoint(progress), records[-1]["loss"])
                reason = REASONS[any_process(REASONS.index(stopped()))]
                if reason is not None and not _is_last(config, progress):
                    checkpoints.save(_checkpoint(progress), None)
                    raise reason(_how_to_go_on(config, progress))
        except DivergedError as error:
            raise DivergedError(f"{error}: {_last_good(config, checkpoints)}") from None
    return state, history


def checkpoint_like(
    recipe: Recipe, state: TrainState, image_shape: tuple[int, int, int]
) -> Checkpoint:
    """A checkpoint of the structure that this recipe's runs save."""
    return Checkpoint(
        state, metric_totals(recipe.step(), state, image_shape, 2 * recipe.accumulate)
    )


def streams(config: Config, dataset: ImageDataset) -> bool:
    """Whether the data is streamed: as asked, or when it would fill too much of the memory."""
    if several():  # each reads its own part
        if config.data == "resident":
            raise UsageError("--data resident is for one process: several stream their parts")
        return True
    if config.data != "auto":
        return config.data == "stream"
    stats = jax.devices()[0].memory_stats() or {}
    host_memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return dataset.images.nbytes > stats.get("bytes_limit", host_memory) // RESIDENT_SHARE


def _resume(
    config: Config,
    recipe: Recipe,
    state: TrainState,
    data: ImageDataset,
    mesh: Mesh,
    checkpoints: Checkpoints,
) -> tuple[Checkpoint, History]:
    """Where to begin: the last good checkpoint of a resumed run, or `state`."""
    start = checkpoint_like(recipe, state, data.image_shape)
    if not config.resume:
        return start, []
    if checkpoints.steps():
        whole = placed(start.totals, replicated(mesh))
        like = Checkpoint(placed(start.state, split_kernels(start.state, mesh)), whole)
        start = checkpoints.restore(like)
    directory, step = config.directory(), int(start.state.step)
    first_alone(lambda: files.rewind_metrics(directory, step, len(data) // config.batch_size))
    return start, files.read_metrics(directory)


def _draw_epoch(
    recipe: Recipe, params: Any, epoch: int, test_data: ImageDataset, workdir: Path
) -> None:
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
