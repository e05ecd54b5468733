"""What N models in one program cost, and what N devices that share a batch bring.

A 784-500-20 VAE on random images, in epochs that take turns: one model alone, N members of a
population, and one model on N devices, all in the time of the model alone; a population's is
divided by N, so that 1 is nothing lost.

On N devices of their own, the time would fall to 1 / N. Those that are threads of one CPU share its
cores: then 1 is what there is to reach, and what is above it is the cost of splitting the work.
XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight of them.

Command:   python experiments/scaling.py
           XLA_FLAGS=--xla_force_host_platform_device_count=8 python experiments/scaling.py
Expected:  see the README's "Populations" and "Devices and processes"
Cost:      a minute on two cores
"""

import dataclasses
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import likelihoods, models, nets
from aejax.cli.flags import one_line_errors, parse
from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.objectives import Elbo, make_loss
from aejax.training.loop import make_source, train
from aejax.training.members import MemberSteps, stack_states
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import EvalStep, TrainStep, make_eval_step, make_train_step

SHAPE = (28, 28, 1)
MODEL = models.vae(*nets.mlp_pair(SHAPE, (500,)), 20, likelihoods.bernoulli())
WITHOUT_END = 10**6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Measure what many models in one program cost, and what many devices bring."""

    members: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Sizes of the populations."""
    images: int = 4000
    """Images an epoch."""
    batch_size: int = 128
    """Images a step."""
    repeats: int = 6
    """How often each is timed; medians are shown."""
    workdir: str = "runs/scaling"
    """Where scaling.png is left."""


def state_of(seed: int) -> TrainState:
    """The state of a model before its first step."""
    init_key, key = jax.random.split(jax.random.key(seed))
    params = MODEL.init(init_key, {"x": jnp.zeros((1, *SHAPE))})["params"]
    return TrainState.create(params, optax.adam(1e-3), key)


def steps_of(beta: Any) -> tuple[TrainStep, EvalStep]:
    """The steps of the VAE whose KL is weighed by `beta`."""
    loss_fn = make_loss(MODEL, Elbo(beta=beta))
    return make_train_step(loss_fn, optax.adam(1e-3)), make_eval_step(loss_fn)


def alone(config: Config, data: Dataset, devices: int) -> Iterator[Any]:
    """One model on so many devices, an epoch at every `next`."""
    mesh = data_mesh(devices)
    source = make_source(data, mesh, stream=False)
    calls = train(
        state_of(0),
        steps_of(1.0)[0],
        source,
        epochs=WITHOUT_END,
        batch_size=config.batch_size,
        mesh=mesh,
    )
    return (progress for progress in calls if progress.epoch_done)


def together(config: Config, data: Dataset, count: int) -> Iterator[Any]:
    """So many members, an epoch of all of them at every `next`."""
    mesh = data_mesh(1)
    calls = train(
        stack_states([state_of(seed) for seed in range(count)]),
        MemberSteps(lambda beta: steps_of(beta)[0], jnp.ones(count)),
        make_source(data, mesh, stream=False),
        epochs=WITHOUT_END,
        batch_size=config.batch_size,
        mesh=mesh,
    )
    return (progress for progress in calls if progress.epoch_done)


def measure(config: Config) -> dict[tuple[str, int], list[float]]:
    """Seconds an epoch of every population and number of devices, the model alone among them."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (config.images, *SHAPE), dtype=np.uint8)
    data = Dataset({"x": pixels, "label": np.zeros(config.images, np.int32)})
    counts = [2**i for i in range(10) if 2**i <= len(jax.devices())]
    runs = {("devices", n): alone(config, data, n) for n in counts}
    runs |= {("members", n): together(config, data, n) for n in config.members}
    turns = {key: partial(next, calls) for key, calls in runs.items()}
    for turn, _ in itertools.product(turns.values(), range(2)):  # compile, and once more
        turn()
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in turns}
    for repeat in range(config.repeats):
        for kind, n in turns if repeat % 2 else reversed(turns):
            epochs = max(1, 8 // n) if kind == "members" else 8  # about as long, all of them
            seconds[kind, n].append(timed(turns[kind, n], epochs))
    return seconds


def timed(turn: Callable[[], Any], epochs: int) -> float:
    """Seconds an epoch."""
    start = time.perf_counter()
    for _ in range(epochs):
        turn()
    return (time.perf_counter() - start) / epochs


def relative(seconds: dict[tuple[str, int], list[float]]) -> dict[tuple[str, int], float]:
    """The time of one model among N, or on N devices, in that of the model alone."""
    one = seconds["devices", 1]
    cost = {}
    for (kind, n), values in seconds.items():
        ratios = [value / base for value, base in zip(values, one, strict=True)]
        median = statistics.median(ratios)
        cost[kind, n] = median / n if kind == "members" else median
    return cost


def curve(cost: dict[tuple[str, int], float]) -> Figure:
    """The costs over N."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for kind, label in (("members", "one of N members"), ("devices", "on N devices")):
        points = sorted((n, value) for (k, n), value in cost.items() if k == kind)
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=label)
    axes.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    axes.set(xlabel="N", ylabel="time of a model, in that of one alone", ylim=(0, None))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def check(config: Config) -> None:
    """Raises a `UsageError` for a number that makes no sense."""
    numbers: Sequence[int] = (*config.members, config.batch_size, config.images, config.repeats)
    if min(numbers) < 1 or config.batch_size > config.images:
        raise UsageError(
            "--members, --images, --batch-size and --repeats are positive, and there are as many "
            "--images as a batch has"
        )


def main() -> None:
    """Measures, prints a table and leaves a picture."""
    with one_line_errors("scaling.py"):
        config = parse(Config, "scaling.py", sys.argv[1:])
        check(config)
        seconds = measure(config)
        cost = relative(seconds)
        print(f"{'':>12} s an epoch   of one model, in the time of one alone")
        for (kind, n), values in seconds.items():
            name = f"{n} {kind if n > 1 else kind[:-1]}"
            print(f"{name:>12} {statistics.median(values):10.4f}   {cost[kind, n]:.3f}")
        path = Path(config.workdir) / "scaling.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        curve(cost).savefig(path, dpi=150)
        print(path)


if __name__ == "__main__":
    main()
