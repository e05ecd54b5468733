"""The one training loop."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from aejax.data.dataset import Dataset
from aejax.data.resident import Arrays, Resident, Segment
from aejax.data.stream import Stream
from aejax.errors import UsageError
from aejax.training import skipping
from aejax.training.compiled import epoch_order, make_eval_segment, make_train_segment
from aejax.training.health import check_metrics, check_state
from aejax.training.processes import placed
from aejax.training.sharding import data_mesh, replicated, split_kernels
from aejax.training.slow_convolutions import warn_of_slow_convolutions
from aejax.training.state import TrainState
from aejax.training.step import EvalStep, TrainStep, make_eval_step, make_train_step
from aejax.training.totals import Totals, zero_totals
from aejax.types import Batch, LossFn, Metrics, Spec

SECONDS_PER_CALL = 0.5

Evaluate = Callable[[TrainState], dict[str, float]]


class Source(Protocol):
    """Where batches come from: `Resident` or `Stream`."""

    dataset: Dataset

    @staticmethod
    def take(arrays: Arrays, index: jax.Array) -> Batch:
        """Batch `index` of a segment's arrays."""
        ...

    def segments(
        self, order: np.ndarray | jax.Array, first: int, pace: Callable[[], int]
    ) -> Iterator[Segment]:
        """Batches `first` to the end of `order`, in order, about `pace()` at a time."""
        ...


class Progress(NamedTuple):
    """Where training stands after a compiled call.

    Attributes:
        state: the state; the next call donates it, so copy or save it before going on.
        totals: the metrics of this epoch so far; with `state`, all that resuming needs.
        epoch: the epoch under way, from 1.
        batch: how many of its batches are done.
        steps_per_epoch: how many it has.
        seconds: what this process spent training on this epoch.
        images_per_second: the rate since this process began the epoch.
    """

    state: TrainState
    totals: Totals
    epoch: int
    batch: int
    steps_per_epoch: int
    seconds: float
    images_per_second: float

    @property
    def epoch_done(self) -> bool:
        """Whether this was the epoch's last batch."""
        return self.batch == self.steps_per_epoch


def make_source(dataset: Dataset, mesh: Mesh, *, stream: bool) -> Source:
    """The data set resident on the devices of `mesh`, or streamed to them from disk."""
    return Stream(dataset, mesh) if stream else Resident(dataset, replicated(mesh))


def train(
    state: TrainState,
    train_step: TrainStep,
    source: Source,
    *,
    epochs: int,
    batch_size: int,
    mesh: Mesh,
    totals: Totals | None = None,
) -> Iterator[Progress]:
    """Trains up to the end of epoch `epochs`, yielding after every compiled call.

    It goes on from `state.step`, in the middle of an epoch if need be; `totals` are then those that
    were yielded with the state. `state` itself is copied and stays usable.

    Raises:
        UsageError: if the batch is larger than the data set or not a multiple of the devices.
        DivergedError: if a loss or a parameter is not finite, or too many updates in a row were
            skipped.
    """
    num_images = len(source.dataset)
    check_batch_size(batch_size, num_images, mesh.shape["data"])
    steps_per_epoch = num_images // batch_size
    done = int(state.step)
    empty = metric_totals(train_step, state, source.dataset.spec, batch_size)
    if totals is None or done % steps_per_epoch == 0:
        totals = empty
    copied = jax.tree.map(jnp.copy, (state, totals))
    state = placed(copied[0], split_kernels(state, mesh))
    totals = placed(copied[1], replicated(mesh))
    run_segment = make_train_segment(train_step, source.take, mesh)
    pace = _Pace()
    warm = False
    for epoch in range(done // steps_per_epoch, epochs):
        order = epoch_order(state.key, np.int32(epoch), num_images, batch_size)
        batch = begun = done - epoch * steps_per_epoch
        seconds = 0.0
        start = time.perf_counter()
        for segment in source.segments(order, batch, pace):
            if not warm:  # compiles, runs no batch
                state, totals = run_segment(state, totals, segment.arrays, 0, 0)
                warm, start = True, time.perf_counter()
            state, totals = run_segment(state, totals, *segment[:3])
            loss = float(totals.sums["loss"])
            now = time.perf_counter()
            pace.adapt(segment.last - segment.first, now - start)
            seconds += now - start
            check_state(state, loss)
            batch += segment.last - segment.first
            rate = (batch - begun) * batch_size / seconds
            yield Progress(state, totals, epoch + 1, batch, steps_per_epoch, seconds, rate)
            start = time.perf_counter()
        done = (epoch + 1) * steps_per_epoch
        totals = placed(jax.tree.map(jnp.copy, empty), replicated(mesh))


def make_evaluate(eval_step: EvalStep, source: Source, *, batch_size: int, mesh: Mesh) -> Evaluate:
    """Builds `evaluate(state) -> {metric: mean over the whole data set}`, exact to the last row."""
    num_images = len(source.dataset)
    steps = -(-num_images // batch_size)
    rows = np.arange(steps * batch_size, dtype=np.int32)
    order = np.where(rows < num_images, rows, 0).reshape(steps, batch_size)
    run_segment = make_eval_segment(eval_step, source.take, num_images, mesh)

    def as_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return state, eval_step(state, batch)

    def evaluate(state: TrainState) -> dict[str, float]:
        totals = metric_totals(as_step, state, source.dataset.spec, 2)
        totals = placed(totals, replicated(mesh))
        for segment in source.segments(order, 0, lambda: steps):
            totals = run_segment(state, totals, *segment)
        return totals.means()

    return evaluate


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
) -> tuple[TrainState, list[dict[str, Any]]]:
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

    Returns:
        The trained state, and one dict a line of the history: `step`, `epoch`, `split` ("train" or
        "test"), and the metrics' means.

    Raises:
        UsageError: if the batch is larger than the data set or not a multiple of the devices.
        DivergedError: if a loss, a parameter or a test metric is not finite, or too many updates in
            a row were skipped.
    """
    mesh = data_mesh(devices)
    train_step = make_train_step(loss_fn, optimizer)
    source = make_source(train_data, mesh, stream=stream)
    evaluate = None
    if test_data is not None:
        test_source = make_source(test_data, mesh, stream=stream)
        evaluate = make_evaluate(
            make_eval_step(loss_fn), test_source, batch_size=batch_size, mesh=mesh
        )
    history = []
    for progress in train(
        state, train_step, source, epochs=epochs, batch_size=batch_size, mesh=mesh
    ):
        if progress.epoch_done:
            history += epoch_records(progress, evaluate)
        last = progress.state
    return (last if history else state), history


def epoch_records(
    progress: Progress, evaluate: Evaluate | None, split: str = "test"
) -> list[dict[str, Any]]:
    """The lines that a finished epoch adds to a history: "train" and, with `evaluate`, `split`.

    Raises:
        DivergedError: if a metric of the evaluation is not finite.
    """
    where = {"step": int(progress.state.step), "epoch": progress.epoch}
    timing = {"seconds": progress.seconds, "images_per_second": progress.images_per_second}
    skipped = skipping.skipped(progress.state.opt_state)
    records = [where | {"split": "train"} | progress.totals.means() | skipped | timing]
    if evaluate is not None:
        start = time.perf_counter()
        means = evaluate(progress.state)
        seconds = time.perf_counter() - start
        records.append(where | {"split": split} | means | {"seconds": seconds})
        check_metrics(records[-1])
    return records


def check_batch_size(batch_size: int, num_images: int, num_devices: int) -> None:
    """Raises a `UsageError` if no batch of this size can be made or shared out."""
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size} is not positive")
    if batch_size > num_images:
        raise UsageError(
            f"batch size {batch_size} is larger than the data set: give at most {num_images}"
        )
    if batch_size % num_devices:
        raise UsageError(
            f"batch size {batch_size} is not a multiple of the {num_devices} devices: "
            "change it, or give --devices"
        )


@dataclasses.dataclass
class _Pace:
    """How many batches to run in a call, so that one takes about `SECONDS_PER_CALL`."""

    steps: int = 8

    def __call__(self) -> int:
        return self.steps

    def adapt(self, steps: int, seconds: float) -> None:
        wanted = steps * SECONDS_PER_CALL / max(seconds, 1e-6)
        self.steps = max(1, min(int(wanted), 8 * steps))


def metric_totals(step: TrainStep, state: TrainState, spec: Spec, rows: int) -> Totals:
    """Totals of no batch, for the metrics that `step` gives of `rows` rows; nothing is computed.

    Some losses are over pairs: give 2 rows at least.
    """
    batch = {k: jax.ShapeDtypeStruct((rows, *v.shape), v.dtype) for k, v in spec.items()}
    traced, (_, metrics) = jax.make_jaxpr(step, return_shape=True)(state, batch)
    warn_of_slow_convolutions(traced.jaxpr)
    return zero_totals(metrics)
