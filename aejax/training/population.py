"""Many models trained in one program: members that differ in their seeds and hyperparameters.

A member's updates are those of `fit` alone: its own shuffle, its own noise, the shared images. One
after the other on a CPU they are its updates to the bit where members differ in their seeds alone.
A number in which they differ (a learning rate, a KL's weight, a likelihood's sigma, weight decay)
is a constant in the program of the run alone, which the compiler works into others beforehand:
there, and all at once, they are its updates to rounding, some 1e-7 a parameter after 40 steps.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.data.dataset import Dataset
from aejax.data.resident import Arrays, Resident
from aejax.training import skipping
from aejax.training.compiled import epoch_order, evaluate_batches, train_batches
from aejax.training.health import is_finite
from aejax.training.loop import check_batch_size, metric_totals
from aejax.training.members import Strategy, member_mesh, over_members
from aejax.training.state import TrainState
from aejax.training.step import EvalStep, TrainStep, make_eval_step, make_train_step
from aejax.training.totals import Totals
from aejax.types import LossFn

Member = Callable[[Any], tuple[LossFn, optax.GradientTransformation]]
Steps = Callable[[Any], tuple[TrainStep, EvalStep]]
_STEPS_PER_CALL = 500  # of all members together


class Population(NamedTuple):
    """What `fit_population` returns of N members.

    Attributes:
        states: a `TrainState` whose every leaf has a leading axis N.
        history: one dict a line: `epoch`, `split` ("train" or "test"), and the means of every
            metric by member, lists of N.
        diverged: by member, the step at which its loss was no longer finite, or its updates were
            skipped too often in a row, or None; it is left as it was then while the others go on.
    """

    states: TrainState
    history: list[dict[str, Any]]
    diverged: list[int | None]


def fit_population(
    states: TrainState,
    member: Member,
    train_data: Dataset,
    test_data: Dataset | None = None,
    *,
    hyperparameters: Any,
    epochs: int,
    batch_size: int,
    strategy: Strategy | None = None,
    devices: int = 1,
) -> Population:
    """Trains N members up to `epochs` in one compiled program.

    Args:
        states: `stack_states` of the members' own, which differ in their keys and parameters.
        member: the hyperparameters of one -> its loss and its optimiser, the one that its state
            was created with. It is traced once for all, so every number must enter as an array.
        train_data: kept on the device once for all members; each shuffles it by its own key.
        test_data: evaluated after each epoch, if given.
        hyperparameters: a pytree whose every leaf is `[N]` or `[N, ...]`; None or () for members
            that differ by their seeds alone.
        epochs: those already in the states counted, which must be whole and the same for all.
        batch_size: images a step of each member.
        strategy: "map", one after the other, which is fastest on a CPU, or "vmap", all at once.
            By default "map" on a CPU and "vmap" elsewhere.
        devices: how many share the members, of which each has as many.

    Raises:
        UsageError: if the batch is larger than the data set.
        ValueError: if the members' numbers differ or cannot be shared out.
    """

    def steps(own: Any) -> tuple[TrainStep, EvalStep]:
        loss_fn, optimizer = member(own)
        return make_train_step(loss_fn, optimizer), make_eval_step(loss_fn)

    history: list[dict[str, Any]] = []
    diverged: list[int | None] = [None] * len(states.step)
    for population in train_population(
        states,
        steps,
        train_data,
        test_data,
        hyperparameters=hyperparameters,
        epochs=epochs,
        batch_size=batch_size,
        strategy=strategy,
        devices=devices,
    ):
        states, diverged = population.states, population.diverged
        history += population.history
    return Population(states, history, diverged)


def train_population(
    states: TrainState,
    steps_of: Steps,
    train_data: Dataset,
    test_data: Dataset | None = None,
    *,
    hyperparameters: Any,
    epochs: int,
    batch_size: int,
    strategy: Strategy | None = None,
    devices: int = 1,
    diverged: Sequence[int | None] | None = None,
) -> Iterator[Population]:
    """`fit_population`, yielding after every epoch the states and the epoch's own lines.

    `steps_of` gives the training and the evaluation step of a member, of its hyperparameters;
    `diverged` says which members have before, as it says in what is yielded.
    """
    strategy = strategy or ("map" if jax.default_backend() == "cpu" else "vmap")
    mesh = member_mesh(devices)
    steps = len(train_data) // batch_size
    alive = np.ones(jnp.shape(states.step), bool)
    if diverged is not None:
        alive = np.array([at is None for at in diverged])
    count = _members(states, hyperparameters, devices, steps, alive)
    check_batch_size(batch_size, len(train_data), 1)
    whole, split = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in ((), ("member",)))
    arrays = jax.device_put({key: np.asarray(a) for key, a in train_data.items()}, whole)
    own = jax.device_put(hyperparameters, split)
    # A copy, which is donated: the result of a call lies where its states did.
    states = jax.device_put(jax.jit(_copied)(states), split)
    empty = jax.device_put(
        _empty_totals(steps_of, states, own, train_data, batch_size, count), split
    )
    run_batches = over_members(partial(_train, steps_of), strategy, mesh, shared=1, donate=(1,))
    evaluate = _make_evaluate(steps_of, test_data, batch_size, strategy, mesh)
    at_a_time = max(1, _STEPS_PER_CALL // count)
    for epoch in range(int(np.max(states.step)) // steps, epochs):
        orders = _orders(states.key, epoch, len(train_data), batch_size)
        totals = empty
        for first in range(0, steps, at_a_time):
            last = np.where(alive, min(steps, first + at_a_time), first).astype(np.int32)
            bounds = (np.full(count, first, np.int32), last)
            states, totals = run_batches(arrays, states, totals, own, orders, *bounds)
            jax.block_until_ready(totals)  # else a signal waits for the whole epoch
        means = _means(totals) | skipping.skipped(states.opt_state)
        lines: list[dict[str, Any]] = [{"epoch": epoch + 1, "split": "train"} | means]
        if evaluate is not None:
            lines.append({"epoch": epoch + 1, "split": "test"} | evaluate(states, own))
        alive &= np.isfinite(np.asarray(totals.sums["loss"]))  # its mean may be of no batch
        alive &= _finite_metrics(lines[1:])
        alive &= ~np.asarray(skipping.gave_up(states.opt_state))
        alive &= np.asarray(finite_members(states))
        yield Population(states, lines, diverged_at(states, alive))


@jax.jit
def finite_members(states: TrainState) -> jax.Array:
    """By member, whether all that it has learnt is finite: `[N]`, bool."""
    return jax.vmap(is_finite)(states)


def _finite_metrics(lines: Sequence[dict[str, Any]]) -> np.ndarray:
    """By member, whether all means of the lines are finite: `[N]`, bool."""
    found = [v for line in lines for k, v in line.items() if k not in ("epoch", "split")]
    return np.all([np.isfinite(values) for values in found], axis=0)


def evaluate_population(
    states: TrainState,
    steps_of: Steps,
    data: Dataset,
    hyperparameters: Any,
    batch_size: int,
    devices: int = 1,
) -> dict[str, list[float]]:
    """The means of each metric over a data set, by member."""
    strategy: Strategy = "map" if jax.default_backend() == "cpu" else "vmap"
    mesh = member_mesh(devices)
    evaluate = _make_evaluate(steps_of, data, batch_size, strategy, mesh)
    assert evaluate is not None
    split = NamedSharding(mesh, PartitionSpec("member"))
    return evaluate(jax.device_put(states, split), jax.device_put(hyperparameters, split))


def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _orders(keys: jax.Array, epoch: int, images: int, batch_size: int) -> jax.Array:
    """Each member's own order of an epoch, `[N, steps, batch_size]`."""
    return jax.vmap(lambda key: epoch_order(key, epoch, images, batch_size))(keys)


def _train(
    steps_of: Steps,
    arrays: dict[str, jax.Array],
    state: TrainState,
    totals: Totals,
    hyperparameters: Any,
    order: jax.Array,
    first: jax.Array,
    last: jax.Array,
) -> tuple[TrainState, Totals]:
    """One member's batches `first` to `last`."""
    train_step, _ = steps_of(hyperparameters)
    return train_batches(train_step, Resident.take, state, totals, (arrays, order), first, last)


def _make_evaluate(
    steps_of: Steps, data: Dataset | None, batch_size: int, strategy: Strategy, mesh: Mesh
) -> Callable[[TrainState, Any], dict[str, list[float]]] | None:
    """Builds `(states, hyperparameters) -> the means of each metric by member`."""
    if data is None:
        return None
    steps = -(-len(data) // batch_size)
    order = np.zeros(steps * batch_size, np.int32)
    order[: len(data)] = np.arange(len(data))
    arrays = {key: np.asarray(a) for key, a in data.items()}, order.reshape(steps, batch_size)
    shared = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec()))

    def of_one(arrays: Arrays, state: TrainState, own: Any) -> Totals:
        step, eval_step = steps_of(own)
        totals = metric_totals(step, state, data.spec, batch_size)
        place = (jnp.int32(0), jnp.int32(steps), jnp.int32(0))
        return evaluate_batches(eval_step, Resident.take, len(data), state, totals, arrays, *place)

    over = over_members(of_one, strategy, mesh, shared=1)
    return lambda states, hyperparameters: _means(over(shared, states, hyperparameters))


def _empty_totals(
    steps_of: Steps,
    states: TrainState,
    hyperparameters: Any,
    data: Dataset,
    batch_size: int,
    count: int,
) -> Totals:
    """Totals of no batch, `[count]` each."""

    def of_first(states: TrainState, hyperparameters: Any) -> Totals:
        first, own = jax.tree.map(lambda leaf: leaf[0], (states, hyperparameters))
        return metric_totals(steps_of(own)[0], first, data.spec, batch_size)

    empty = jax.eval_shape(of_first, states, hyperparameters)
    return jax.tree.map(lambda leaf: np.zeros(count, leaf.dtype), empty)


def _means(totals: Totals) -> dict[str, list[float]]:
    sums, weight = jax.device_get((totals.sums, totals.weight))
    with np.errstate(invalid="ignore"):  # a member that has diverged has run no batch
        return {name: (value / weight).tolist() for name, value in sums.items()}


def diverged_at(states: TrainState, alive: np.ndarray) -> list[int | None]:
    """By member, None, or the step at which one that is not alive was left."""
    steps = np.asarray(states.step)
    return [None if ok else int(step) for ok, step in zip(alive, steps, strict=True)]


def _members(
    states: TrainState, hyperparameters: Any, devices: int, steps: int, alive: np.ndarray
) -> int:
    """How many members there are; raises a `ValueError` where their numbers do not fit."""
    if jnp.ndim(states.step) != 1:
        raise ValueError("states is of one member: give stack_states([...])")
    count = len(states.step)
    leaves = jax.tree_util.tree_leaves_with_path(hyperparameters)
    for path, leaf in leaves:
        if jnp.ndim(leaf) < 1 or len(leaf) != count:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"hyperparameters{name} {jnp.shape(leaf)} is not [{count}, ...]: give each of the "
                f"{count} members its own"
            )
    if count % devices:
        raise ValueError(f"{count} members cannot be shared out evenly to {devices} devices")
    done = set(np.asarray(states.step)[alive].tolist()) or {0}
    if len(done) > 1 or done.pop() % max(steps, 1):
        raise ValueError(
            "the members' states are not at the end of one epoch: train those that are"
        )
    return count
