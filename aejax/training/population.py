"""Many models trained in one program: members that differ in their seeds and hyperparameters.

A member's updates are those of `fit` alone: its own shuffle, its own noise, the shared images. One
after the other on a CPU they are its updates to the bit where members differ in their seeds alone.
A number in which they differ (a learning rate, a KL's weight, a likelihood's sigma, weight decay)
is a constant in the program of the run alone, which the compiler works into others beforehand:
there, and all at once, they are its updates to rounding, some 1e-7 a parameter after 40 steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aejax.data.dataset import Dataset
from aejax.training.fit import fitted
from aejax.training.loop import History
from aejax.training.members import MemberSteps, Strategy
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import EvalStep, TrainStep, make_eval_step, make_train_step
from aejax.types import LossFn

Member = Callable[[Any], tuple[LossFn, optax.GradientTransformation]]


class Population(NamedTuple):
    """What `fit_population` returns of N members.

    Attributes:
        states: a `TrainState` whose every leaf has a leading axis N.
        history: the lines of `fit`, in which the means of every metric are lists of N.
        diverged: by member, the step at which its loss was no longer finite, or its updates were
            skipped too often in a row, or None; it is left as it was then while the others go on.
    """

    states: TrainState
    history: History
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
        epochs: those already in the states counted, which must be the same for all.
        batch_size: images a step of each member.
        strategy: "map", one after the other, which is fastest on a CPU, or "vmap", all at once.
            By default "map" on a CPU and "vmap" elsewhere.
        devices: how many share the members, of which each has as many.

    Raises:
        UsageError: if the batch is larger than the data set.
        ValueError: if the members' numbers differ or cannot be shared out.
    """

    def train_step(own: Any) -> TrainStep:
        return make_train_step(*member(own))

    def eval_step(own: Any) -> EvalStep:
        return make_eval_step(member(own)[0])

    def steps(step_of: Callable[[Any], Any]) -> MemberSteps:
        return MemberSteps(step_of, hyperparameters, strategy)

    mesh = data_mesh(devices)
    check_members(states, hyperparameters, devices)
    last, history = fitted(
        states,
        (steps(train_step), steps(eval_step)),
        (train_data, test_data),
        epochs=epochs,
        batch_size=batch_size,
        mesh=mesh,
    )
    if last is None:
        return Population(states, history, [None] * len(states.step))
    return Population(last.state, history, diverged_at(last.state, last.alive))


def diverged_at(states: TrainState, alive: np.ndarray) -> list[int | None]:
    """By member, None, or the step at which one that is not alive was left."""
    steps = np.asarray(states.step)
    return [None if ok else int(step) for ok, step in zip(alive, steps, strict=True)]


def check_members(states: TrainState, hyperparameters: Any, devices: int) -> None:
    """Raises a `ValueError` where the numbers of members do not fit."""
    if jnp.ndim(states.step) != 1:
        raise ValueError("states is of one member: give stack_states([...])")
    count = len(states.step)
    for path, leaf in jax.tree_util.tree_leaves_with_path(hyperparameters):
        if jnp.ndim(leaf) < 1 or len(leaf) != count:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"hyperparameters{name} {jnp.shape(leaf)} is not [{count}, ...]: give each of the "
                f"{count} members its own"
            )
    if count % devices:
        raise ValueError(f"{count} members cannot be shared out evenly to {devices} devices")
    if len(set(np.asarray(states.step).tolist())) > 1:
        raise ValueError("the members' states are not at one step: train those that are")
