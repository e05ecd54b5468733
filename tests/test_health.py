"""Nothing that is not finite is called good: not a checkpoint, not a result, not a status of 0."""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import aejax
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.errors import DivergedError
from aejax.experiments import autoencoder
from aejax.training.fit import fit
from aejax.training.health import is_finite
from aejax.training.members import stack_states
from aejax.training.population import fit_population
from aejax.training.state import TrainState

SMALL = {"hidden": (8,), "batch_size": 500, "devices": 1, "checkpoint_every": 1}


def spoilt_at(step, optimizer):
    """The optimiser, whose update number `step`, from 1, is NaN."""

    def scale(count):
        return jnp.where(count == step - 1, jnp.nan, 1.0)

    return optax.chain(optimizer, optax.scale_by_schedule(scale))


def quadratic(params, extra, batch, key, step):
    loss = jnp.sum((params["w"] - jnp.mean(batch["x"])) ** 2)
    return loss, ({"loss": loss}, extra)


DATA = Dataset({"x": np.full((8, 2, 2, 1), 51, np.uint8), "label": np.zeros(8, np.int32)})


def state_of(optimizer, **options):
    return TrainState.create({"w": jnp.ones(3)}, optimizer, jax.random.key(0), **options)


def test_what_is_looked_at():
    good = state_of(optax.adam(0.1), ema=True, extra={"count": jnp.zeros((), jnp.int32)})
    bad = {"w": jnp.array([0.0, jnp.inf, 0.0])}
    assert is_finite(good)
    for change in ({"params": bad}, {"ema": bad}, {"extra": {"codebook": jnp.nan}}):
        assert not is_finite(dataclasses.replace(good, **change))


def test_the_last_update_of_a_training_is_looked_at():
    optimizer = spoilt_at(8, optax.sgd(0.1))
    with pytest.raises(DivergedError, match="the parameters are not finite after step 8"):
        fit(state_of(optimizer), quadratic, optimizer, DATA, epochs=2, batch_size=2)
    fit(state_of(optimizer), quadratic, optimizer, DATA, epochs=1, batch_size=2)


def test_metrics_of_test_images_are_looked_at():
    state = state_of(optax.sgd(0.1))

    def overflowing(params, extra, batch, key, step):
        loss, (metrics, extra) = quadratic(params, extra, batch, key, step)
        return loss, (metrics | {"other": jnp.inf if "mask" in batch else loss}, extra)

    with pytest.raises(DivergedError, match="other is inf on the test images after step 4"):
        fit(state, overflowing, optax.sgd(0.1), DATA, DATA, epochs=1, batch_size=2)


def test_a_members_last_update_is_looked_at():
    def member(last):
        return quadratic, spoilt_at(last, optax.sgd(0.1))

    lasts = jnp.array([4, 100])
    states = stack_states([state_of(member(last)[1]) for last in lasts])
    found = fit_population(
        states, member, DATA, hyperparameters=lasts, epochs=1, batch_size=2, strategy="map"
    )
    assert found.diverged == [4, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spoilt(autoencoder.Config):
    """An autoencoder whose 16th update is NaN: the last of two epochs."""

    def optimizer(self, steps_per_epoch):
        return spoilt_at(16, super().optimizer(steps_per_epoch))


def test_a_runs_last_update_is_no_checkpoint_and_no_success(capsys):
    flags = ["--hidden", "8", "--batch-size", "500", "--devices", "1", "--checkpoint-every", "1"]
    with pytest.raises(SystemExit) as exit_:
        main(Spoilt, [*flags, "--epochs", "2", "--workdir", "r"])
    assert exit_.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the parameters are not finite after step 16" in message
    assert "the last good checkpoint, step 8, is kept in r" in message
    assert os.listdir("r/checkpoints") == ["8"]
    assert not Path("r/summary.json").exists()
    assert int(aejax.load_run("r", Spoilt).state.step) == 8
