"""Training inside a run directory: the loop with its bar, log, checkpoints and way to go on."""

import contextlib
import os
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from aejax.data.dataset import Dataset
from aejax.errors import DivergedError, UsageError
from aejax.processes.interrupt import REASONS, watch_signals
from aejax.processes.processes import (
    any_process,
    first_alone,
    is_first,
    on_this_process,
    placed,
    several,
)
from aejax.runs import directory as files
from aejax.runs.config import Config
from aejax.runs.progress import Log
from aejax.runs.recipe import Recipe
from aejax.runs.splits import Splits
from aejax.training.checkpoint import Checkpoint, Checkpoints
from aejax.training.compiled import layout
from aejax.training.fit import epoch_records
from aejax.training.health import check_metrics
from aejax.training.loop import (
    Evaluate,
    History,
    Progress,
    begun,
    make_evaluate,
    make_source,
    metric_totals,
    train,
)
from aejax.training.sharding import replicated
from aejax.training.state import TrainState
from aejax.training.step import make_eval_step
from aejax.types import Spec, Variables

RESIDENT_SHARE = 4  # data up to a quarter of the memory stays resident


class Job(NamedTuple):
    """What is trained in a run directory: one model, or a population.

    Attributes:
        config: its flags; those of the first member of a population.
        recipe: what it is made of; that of the first member.
        steps: those that train and evaluate, of all members.
        splits: its images.
        mesh: the devices that share a batch, or the members.
    """

    config: Config
    recipe: Recipe
    steps: tuple[Any, Any]
    splits: Splits
    mesh: Mesh


class Trained(NamedTuple):
    """How the training of a job ended.

    Attributes:
        checkpoint: the state, and what there is of an epoch under way.
        history: every line of the metrics.
        alive: who has not diverged, `[]` or by member `[N]`.
        stopped: what to raise where a signal ended it.
    """

    checkpoint: Checkpoint
    history: History
    alive: np.ndarray
    stopped: KeyboardInterrupt | None = None


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
    workdir = config.directory()
    job = Job(config, recipe, (recipe.train_step, make_eval_step(recipe.loss_fn)), splits, mesh)
    like = checkpoint_like(recipe, state, splits.train.spec)
    with Checkpoints(workdir / files.CHECKPOINTS) as checkpoints:
        start, history = where_to_begin(job, like, checkpoints)
        first_step = int(start.state.step)
        first_alone(lambda: files.write_config(workdir, described, first_step))
        with opened_log(job, start) as log:
            try:
                end = trained(job, start, history, checkpoints, log)
            except DivergedError as error:
                raise DivergedError(f"{error}: {_last_good(config, checkpoints)}") from None
            if end.stopped is not None:
                raise end.stopped
            if splits.validation is None:
                return end.checkpoint.state, end.history
            best = checkpoints.restore(_laid_out(job, like), best=True).state
            return best, [*end.history, tested(job, best, log)]


def where_to_begin(
    job: Job, like: Checkpoint, checkpoints: Checkpoints
) -> tuple[Checkpoint, History]:
    """The last good checkpoint of a directory that is resumed and its history, or `like`."""
    if not job.config.resume:
        return like, []
    start = checkpoints.restore(_laid_out(job, like)) if checkpoints.steps() else like
    directory, step = job.config.directory(), int(np.max(np.asarray(start.state.step)))
    dropped = () if job.splits.validation is None else ("test",)  # it is tested again at its end
    first_alone(lambda: files.rewind_metrics(directory, step, _steps_per_epoch(job), dropped))
    return start, files.read_metrics(directory)


def trained(
    job: Job, start: Checkpoint, history: History, checkpoints: Checkpoints, log: Log | None
) -> Trained:
    """Trains a job to its last epoch, or until a signal comes: then what there is is saved."""
    config, evaluate = job.config, _evaluation(job, job.splits.watched()[1])
    end = Trained(start, history, np.isfinite(start.totals.sums["loss"]))
    calls = train(
        start.state,
        job.steps[0],
        make_source(job.splits.train, job.mesh, stream=streams(config, job.splits.train)),
        epochs=config.epochs,
        batch_size=config.batch_size,
        mesh=job.mesh,
        totals=start.totals,
    )
    with watch_signals() as signalled:
        for progress in calls:
            if log is not None:
                log.show(progress)
            if progress.epoch_done:
                history = history + _end_epoch(job, progress, evaluate, checkpoints, log)
            end = Trained(_checkpoint(progress), history, progress.alive)
            reason = REASONS[any_process(REASONS.index(signalled()))]
            if reason is not None and progress.step < config.epochs * progress.steps_per_epoch:
                checkpoints.save(end.checkpoint, None)
                return end._replace(stopped=reason(_how_to_go_on(config, progress)))
    return end


def _end_epoch(
    job: Job, progress: Progress, evaluate: Evaluate, checkpoints: Checkpoints, log: Log | None
) -> History:
    """The lines of an epoch, whose figures are drawn; saves it where that is due, or it is best."""
    config, recipe, alone = job.config, job.recipe, not progress.alive.ndim
    split, watched = job.splits.watched()
    records = epoch_records(progress, evaluate, split)
    used: Any = (progress.state.eval_params, progress.state.extra) if alone else ({}, {})
    params, extra = on_this_process(used, replicated(job.mesh))
    if log is not None:
        log.write(records)
        if alone:
            _draw_epoch(job, {"params": params, **extra}, progress.epoch, watched)
    # Members are ranked as they are after the last epoch.
    score = recipe.objective.score(records[-1]) if alone and split == "validation" else None
    best = checkpoints.best()
    is_best = score is not None and (best is None or score < best[1])
    if is_best or progress.epoch % config.checkpoint_every == 0 or progress.epoch == config.epochs:
        checkpoints.save(_checkpoint(progress), score)
    return records


def opened_log(job: Job, start: Checkpoint) -> contextlib.AbstractContextManager[Log | None]:
    """What the first process tells of the training, beginning where it begins."""
    if not is_first():
        return contextlib.nullcontext()
    return Log(job.config, _steps_per_epoch(job), int(np.max(np.asarray(start.state.step))))


def tested(job: Job, state: TrainState, log: Log | None) -> dict[str, Any]:
    """The line of the metrics that a state has on the test images."""
    step = int(np.max(np.asarray(state.step)))
    where = {"step": step, "epoch": step // _steps_per_epoch(job), "split": "test"}
    record = where | _evaluation(job, job.splits.test)(state)
    check_metrics(record)
    if log is not None:
        log.write([record])
    return record


def checkpoint_like(recipe: Recipe, state: TrainState, spec: Spec) -> Checkpoint:
    """A checkpoint of the structure that this recipe's runs save."""
    return Checkpoint(state, metric_totals(recipe.train_step, state, spec, 2 * recipe.parts))


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


def _evaluation(job: Job, data: Dataset) -> Evaluate:
    source = make_source(data, job.mesh, stream=streams(job.config, data))
    return make_evaluate(job.steps[1], source, batch_size=job.config.batch_size, mesh=job.mesh)


def _steps_per_epoch(job: Job) -> int:
    return len(job.splits.train) // job.config.batch_size


def _laid_out(job: Job, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as the devices of the mesh hold it."""
    where = layout(job.steps[0], checkpoint.state, job.mesh)
    return Checkpoint(*placed(tuple(checkpoint), where))


def _draw_epoch(job: Job, variables: Variables, epoch: int, data: Dataset) -> None:
    folder = job.config.directory() / files.FIGURES / "epochs"
    for name, figure in job.config.epoch_figures(job.recipe.model, variables, data):
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}_{epoch:03d}.png", dpi=150)


def _checkpoint(progress: Progress) -> Checkpoint:
    # Between epochs there is nothing to add up: the finished epoch is in metrics.jsonl.
    done, totals = progress.epoch_done, progress.totals
    return Checkpoint(progress.state, begun(totals, progress.alive) if done else totals)


def _how_to_go_on(config: Config, progress: Progress) -> str:
    script = sys.argv[0] if sys.argv[0].endswith(".py") else f"{config.name}.py"
    return (
        f"stopped in epoch {progress.epoch} at step {progress.step}, saved; go on with "
        f"the same flags and --resume: python {script} --workdir {config.directory()} ... --resume"
    )


def _last_good(config: Config, checkpoints: Checkpoints) -> str:
    steps = checkpoints.steps()
    kept = f"the last good checkpoint, step {steps[-1]}, is kept" if steps else "none was saved yet"
    return f"{kept} in {config.directory()}; a lower --learning-rate may help"
