"""The one training loop: one model, or the members of a population as one program."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from aejax.data.dataset import Dataset
from aejax.data.resident import Arrays, Resident, Segment
from aejax.data.stream import Stream
from aejax.errors import UsageError
from aejax.processes.processes import placed
from aejax.training.compiled import (
    Carry,
    block_of,
    epoch_order,
    layout,
    make_eval_segment,
    make_train_segment,
)
from aejax.training.health import check_state, sound_members
from aejax.training.members import MemberSteps
from aejax.training.sharding import replicated
from aejax.training.slow_convolutions import warn_of_slow_convolutions
from aejax.training.state import TrainState
from aejax.training.step import EvalStep, TrainStep
from aejax.training.totals import Totals, zero_totals
from aejax.types import Batch, Spec

SECONDS_PER_CALL, FEWEST_STEPS, LONGEST_CALL = 0.5, 8, 4.0

Evaluate = Callable[[TrainState], dict[str, Any]]
History = list[dict[str, Any]]


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
        images_per_second: the rate since this process began the epoch, that of all members.
        alive: whether it goes on, `[]` or by member `[N]`; who finds a member diverged at the end
            of an epoch sets it to False in place.
    """

    state: TrainState
    totals: Totals
    epoch: int
    batch: int
    steps_per_epoch: int
    seconds: float
    images_per_second: float
    alive: np.ndarray

    @property
    def epoch_done(self) -> bool:
        """Whether this was the epoch's last batch."""
        return self.batch == self.steps_per_epoch

    @property
    def step(self) -> int:
        """How many steps are done, by a member that has not diverged."""
        return (self.epoch - 1) * self.steps_per_epoch + self.batch


def make_source(dataset: Dataset, mesh: Mesh, *, stream: bool) -> Source:
    """The data set resident on the devices of `mesh`, or streamed to them from disk."""
    return Stream(dataset, mesh) if stream else Resident(dataset, replicated(mesh))


def train(
    state: TrainState,
    train_step: TrainStep | MemberSteps,
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

    `MemberSteps` train the N members of a population, each in an order of its own. Every leaf of
    `state` and `totals` then has a leading axis N, which is split over the devices. A member that
    diverges is left as it is then, and its loss in `totals` stays NaN; the others go on.

    Raises:
        UsageError: if the batch is larger than the data set or not a multiple of the devices.
        DivergedError: if a loss or a parameter is not finite, or too many updates in a row were
            skipped, of one model.
    """
    num_images, population = len(source.dataset), isinstance(train_step, MemberSteps)
    check_batch_size(batch_size, num_images, 1 if population else mesh.shape["data"])
    steps = num_images // batch_size
    empty = metric_totals(train_step, state, source.dataset.spec, batch_size)
    alive = np.array(np.isfinite((empty if totals is None else totals).sums["loss"]))
    done = int(np.max(np.asarray(state.step), where=alive, initial=0))
    if totals is None or done % steps == 0:
        totals = begun(empty, alive)
    where = layout(train_step, state, mesh)
    carry = placed(jax.tree.map(jnp.copy, (state, totals)), where)
    run = _bound(train_step, make_train_segment(train_step, source.take, mesh), where[1])
    pace = _Pace(block_of(steps, mesh))
    for epoch in range(done // steps, epochs):
        order = epoch_order(carry[0].key, np.int32(epoch), num_images, batch_size)
        batch = behind = done - epoch * steps
        seconds = 0.0
        segments = source.segments(order, batch, pace)
        for after, made, spent in _calls(run, carry, segments, pace):
            carry, batch, seconds = after, batch + made, seconds + spent
            _judge(carry, alive, epoch_done=batch == steps)
            rate = (batch - behind) * batch_size * alive.size / seconds
            yield Progress(*carry, epoch + 1, batch, steps, seconds, rate, alive)
        done = (epoch + 1) * steps
        carry = carry[0], placed(begun(empty, alive), where[1])


def begun(like: Totals, alive: np.ndarray) -> Totals:
    """Totals of no batch, those of an epoch's beginning; who has diverged keeps a loss of NaN."""
    zeros = jax.tree.map(jnp.zeros_like, like)
    loss = jnp.where(alive, zeros.sums["loss"], jnp.nan)
    return zeros._replace(sums=zeros.sums | {"loss": loss})


def _bound(step: Any, segment: Callable[..., Any], split: Any) -> Callable[..., Any]:
    """`(state, totals, arrays, *bounds)` of a compiled segment, with the members' own numbers."""
    own = jax.device_put(step.hyperparameters, split) if isinstance(step, MemberSteps) else ()
    return lambda state, totals, *rest: segment(state, totals, own, *rest)


def _calls(
    run: Callable[..., Carry], carry: Carry, segments: Iterator[Segment], pace: "_Pace"
) -> Iterator[tuple[Carry, int, float]]:
    """Runs segment after segment; yields the state and totals, the steps made and the seconds."""
    start = time.perf_counter()
    for segment in segments:
        if not pace.measured:  # compiles, runs no batch
            carry = run(*carry, segment.arrays, 0, 0)
            start = time.perf_counter()
        carry = run(*carry, *segment[:3])
        jax.block_until_ready(carry[1])
        steps, seconds = segment.last - segment.first, time.perf_counter() - start
        pace.adapt(steps, seconds)
        yield carry, steps, seconds
        start = time.perf_counter()


def _judge(carry: Carry, alive: np.ndarray, *, epoch_done: bool) -> None:
    """Raises for one model that has diverged; notes at the end of an epoch which members have.

    Within the epoch a member is left by its loss alone, whatever cut the epoch into calls.
    """
    state, totals = carry
    if not alive.ndim:
        check_state(state, float(totals.sums["loss"]))
    elif epoch_done:
        alive &= np.asarray(sound_members(state, totals))


def make_evaluate(
    eval_step: EvalStep | MemberSteps, source: Source, *, batch_size: int, mesh: Mesh
) -> Evaluate:
    """Builds `evaluate(state) -> {metric: mean over the whole data set}`, exact to the last row.

    For `MemberSteps` the means are lists of N.
    """
    num_images = len(source.dataset)
    steps = -(-num_images // batch_size)
    rows = np.arange(steps * batch_size, dtype=np.int32)
    order = np.where(rows < num_images, rows, 0).reshape(steps, batch_size)
    segment = make_eval_segment(eval_step, source.take, num_images, mesh)

    def evaluate(state: TrainState) -> dict[str, Any]:
        where = layout(eval_step, state, mesh)[1]
        totals = placed(
            metric_totals(_as_train_step(eval_step), state, source.dataset.spec, 2), where
        )
        run = _bound(eval_step, segment, where)
        for part in source.segments(order, 0, lambda: steps):
            totals = run(state, totals, *part)
        return totals.means()

    return evaluate


def _as_train_step(step: Any) -> Any:
    """A step that evaluates, as one that trains and changes nothing."""
    if isinstance(step, MemberSteps):
        return step._replace(step_of=lambda own: _as_train_step(step.step_of(own)))
    return lambda state, batch: (state, step(state, batch))


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
    """How many batches to run in a call: whole blocks that take about `SECONDS_PER_CALL`.

    A call allocates its buffers anew, whose pages cost 28% of the time of the conv autoencoder at
    one step a call and 4 to 6% at eight. So it has `FEWEST_STEPS`, however slow a loaded machine
    is, unless they would keep a signal waiting for more than `LONGEST_CALL`.
    """

    block: int = 1
    steps: int = FEWEST_STEPS
    measured: bool = False

    def __call__(self) -> int:
        return -(-self.steps // self.block) * self.block

    def adapt(self, steps: int, seconds: float) -> None:
        each = max(seconds / steps, 1e-9)
        fewest = min(FEWEST_STEPS, int(LONGEST_CALL / each))
        self.steps = max(1, fewest, min(int(SECONDS_PER_CALL / each), 8 * steps))
        self.measured = True


def metric_totals(
    step: TrainStep | MemberSteps, state: TrainState, spec: Spec, rows: int
) -> Totals:
    """Totals of no batch, for the metrics that `step` gives of `rows` rows; nothing is computed.

    Some losses are over pairs: give 2 rows at least.
    """
    if isinstance(step, MemberSteps):
        one = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
            (state, step.hyperparameters),
        )
        totals = jax.eval_shape(
            lambda state, own: metric_totals(step.step_of(own), state, spec, rows), *one
        )
        return jax.tree.map(lambda leaf: jnp.zeros(len(state.step), leaf.dtype), totals)
    batch = {k: jax.ShapeDtypeStruct((rows, *v.shape), v.dtype) for k, v in spec.items()}
    traced, (_, metrics) = jax.make_jaxpr(step, return_shape=True)(state, batch)
    warn_of_slow_convolutions(traced.jaxpr)
    return zero_totals(metrics)
