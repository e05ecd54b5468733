"""Training with a history: the loop for a notebook or a script."""

import time
from typing import Any

import numpy as np
import optax
from jax.sharding import Mesh

from aejax.data.dataset import Dataset
from aejax.training import skipping
from aejax.training.health import check_metrics
from aejax.training.loop import Evaluate, History, Progress, make_evaluate, make_source, train
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import (
    EvalParams,
    average_or_params,
    make_eval_step,
    make_train_step,
)
from aejax.types import LossFn


def fit(
    state: TrainState,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    train_data: Dataset,
    test_data: Dataset | None = None,
    *,
    epochs: int,
    batch_size: int,
    stream: bool = False,
    devices: int | None = 1,
    eval_params: EvalParams = average_or_params,
) -> tuple[TrainState, History]:
    """Trains `state` and returns it with a history: the loop for a notebook or a script.

    Args:
        state: `TrainState.create(params, optimizer, key)`; it stays usable.
        loss_fn: see `aejax.objectives`.
        optimizer: the one that `state` was created with.
        train_data: shuffled anew each epoch.
        test_data: evaluated after each epoch, if given.
        epochs: train up to this many epochs, those already in `state` counted.
        batch_size: images a step.
        stream: read from disk rather than keep the images on the device.
        devices: how many devices share each batch; None for all.
        eval_params: which parameters are evaluated; see `make_eval_step`.

    Returns:
        The trained state, and one dict a line of the history: `step`, `epoch`, `split` ("train" or
        "test"), and the metrics' means.

    Raises:
        UsageError: if the batch is larger than the data set or not a multiple of the devices.
        DivergedError: if a loss, a parameter or a test metric is not finite, or too many updates in
            a row were skipped.
    """
    steps = make_train_step(loss_fn, optimizer), make_eval_step(loss_fn, eval_params)
    last, history = fitted(
        state,
        steps,
        (train_data, test_data),
        epochs=epochs,
        batch_size=batch_size,
        mesh=data_mesh(devices),
        stream=stream,
    )
    return (state if last is None else last.state), history


def fitted(
    state: TrainState,
    steps: tuple[Any, Any],
    data: tuple[Dataset, Dataset | None],
    *,
    epochs: int,
    batch_size: int,
    mesh: Mesh,
    stream: bool = False,
) -> tuple[Progress | None, History]:
    """`fit`, by steps that train and evaluate: where it ended, None without an epoch to train."""
    sources = [None if of is None else make_source(of, mesh, stream=stream) for of in data]
    train_source, test_source = sources
    assert train_source is not None
    evaluate = None
    if test_source is not None:
        evaluate = make_evaluate(steps[1], test_source, batch_size=batch_size, mesh=mesh)
    last, history = None, []
    for last in train(
        state, steps[0], train_source, epochs=epochs, batch_size=batch_size, mesh=mesh
    ):
        if last.epoch_done:
            history += epoch_records(last, evaluate)
    return last, history


def epoch_records(progress: Progress, evaluate: Evaluate | None, split: str = "test") -> History:
    """The lines that a finished epoch adds to a history: "train" and, with `evaluate`, `split`.

    Members of which a metric of the evaluation is not finite are no longer `progress.alive`.

    Raises:
        DivergedError: if one of one model is not.
    """
    where = {"step": progress.step, "epoch": progress.epoch}
    timing = {"seconds": progress.seconds, "images_per_second": progress.images_per_second}
    count = skipping.skipped(progress.state.opt_state)
    skipped = {} if count is None else {"skipped": np.asarray(count).tolist()}
    records = [where | {"split": "train"} | progress.totals.means() | skipped | timing]
    if evaluate is not None:
        start = time.perf_counter()
        means = evaluate(progress.state)
        seconds = time.perf_counter() - start
        records.append(where | {"split": split} | means | {"seconds": seconds})
        check_metrics(records[-1])
        finite = np.all(np.isfinite(list(means.values())), axis=0)
        np.logical_and(progress.alive, finite, out=progress.alive)
    return records
