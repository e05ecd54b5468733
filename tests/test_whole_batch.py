"""Losses that are no means over the examples: over devices they are what they are on one."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from linear_gaussian import LinearGaussian

from aejax.divergences import gaussian_kl_per_dimension
from aejax.latents import DiagonalGaussian
from aejax.objectives import (
    BetaTcVae,
    Capacity,
    FreeBits,
    Geco,
    InfoVae,
    Penalised,
    Training,
    WaeMmd,
    aggregate,
    make_loss,
)
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import make_train_step

DEVICES, ROWS = 4, 16
SGD = optax.sgd(1.0)
LINEAR = LinearGaussian(inflation=1.3)


class Still(DiagonalGaussian):
    """Draws that no key changes, so that one device and four make the same."""

    def sample(self, key):
        return self.mean + 0.7 * jnp.exp(self.log_sigma)


MODEL = dataclasses.replace(
    LINEAR.model, posterior=lambda v, batch: Still(*LINEAR.encode(v["params"], batch["x"]))
)
TRAINING = Training(1, 100, ROWS)


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch):
    """Double precision, and draws of the prior that are as many times the same four."""
    four = np.random.default_rng(3).normal(size=(ROWS // DEVICES, 2))

    class Prior:
        def __init__(self, shape):
            self.shape = shape

        def sample(self, key):
            return jnp.tile(four, (self.shape[0] // len(four), 1))

    monkeypatch.setattr(aggregate, "standard_normal", Prior)
    with jax.enable_x64(True), jax.debug_key_reuse(False):
        yield


def charged(make):
    """An objective by what the batch's KL is, near which its parts' lie on both sides."""

    def build():
        kl = np.asarray(gaussian_kl_per_dimension(*LINEAR.encode(*at())).mean(axis=0))
        return make(kl)

    return build


def at():
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), LINEAR.params)
    return params, jnp.asarray(LINEAR.data(ROWS), jnp.result_type(float))


BUILDERS = {
    "free_bits": charged(lambda kl: FreeBits(nats=1.01 * kl[0])),
    "total_free_bits": charged(lambda kl: FreeBits(nats=0.99 * kl.sum(), per="image")),
    "capacity": charged(lambda kl: Capacity(gamma=10.0, nats=1.01 * kl.sum(), rise=1.0)),
    "info_vae": lambda: InfoVae(alpha=0.5, weight=9.0),
    "wae_mmd": lambda: WaeMmd(weight=9.0),
    "beta_tcvae": lambda: BetaTcVae(beta=4.0),
    "penalised": lambda: Penalised(
        objective=BUILDERS["capacity"](), penalty=weights_by_pixel, weight=0.3
    ),
}


def weights_by_pixel(model, batch, key):
    return jnp.sum(model.variables["params"]["w"] ** 2) * batch["x"][:, 0]


def loss_of(name):
    return make_loss(MODEL, BUILDERS[name]().during(TRAINING))


def updated(loss_fn, run, **options):
    """Parameters and metrics after one step of plain gradient descent."""
    params, x = at()
    state = TrainState.create(params, SGD, jax.random.key(0), **options)
    # Past the first step, at which the capacity is still 0.
    state = dataclasses.replace(state, step=jnp.ones((), jnp.int32))
    state, metrics = run(lambda **to: make_train_step(loss_fn, SGD, **to), state, x)
    return jax.device_get((state.params, state.extra, metrics))


@functools.cache
def whole(name):
    """What one device finds."""
    return updated(loss_of(name), on_one)


def on_one(make, state, x):
    return jax.jit(make())(state, {"x": x})


def pmapped(make, state, x):
    step = jax.pmap(make(axis_name="data"), axis_name="data", devices=jax.devices()[:DEVICES])
    state = jax.tree.map(lambda a: jnp.broadcast_to(a, (DEVICES, *a.shape)), state)
    found = step(state, {"x": x.reshape(DEVICES, -1, *x.shape[1:])})
    return jax.tree.map(lambda a: a[DEVICES - 1], found)


def shard_mapped(make, state, x):
    step = make(axis_name="data")
    specs = {"in_specs": (P(), P("data")), "out_specs": (P(), P())}
    return jax.jit(jax.shard_map(step, mesh=data_mesh(DEVICES), **specs))(state, {"x": x})


@pytest.mark.parametrize(
    ("name", "run"),
    [
        pytest.param(name, run, marks=[] if i % 2 == k else pytest.mark.slow)
        for i, name in enumerate(BUILDERS)
        for k, run in enumerate((pmapped, shard_mapped))
    ],
)
def test_four_devices_train_the_objective_of_one(name, run):
    chex.assert_trees_all_close(updated(loss_of(name), run), whole(name), rtol=1e-10)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_means_of_parts_are_another_objective(name):
    """Else the test above would pass whatever is put together."""
    loss_fn = loss_of(name)
    apart = updated(lambda *args: loss_fn(*args), pmapped)[0]
    assert not np.allclose(apart["w"], whole(name)[0]["w"], rtol=1e-3)


@pytest.mark.parametrize("name", BUILDERS)
def test_it_is_not_accumulated(name):
    with pytest.raises(ValueError, match="accumulate 4 would train another objective"):
        make_train_step(loss_of(name), SGD, accumulate=4)


def in_parts(make, state, x):
    return jax.jit(make(accumulate=DEVICES))(state, {"x": x})


@pytest.mark.parametrize("run", [pmapped, shard_mapped, in_parts])
def test_geco_is_linear_in_the_batch(run):
    """Its constraint's average, and so its multiplier, are those of the whole batch."""
    loss_fn = make_loss(MODEL, Geco(tolerance=3.0, rate=0.1))
    extra = {"geco": {"log_multiplier": jnp.array(0.4), "average": jnp.array(0.7)}}
    extra["geco"]["steps"] = jnp.array(5.0)
    found, expected = (updated(loss_fn, r, extra=extra) for r in (run, on_one))
    chex.assert_trees_all_close(found, expected, rtol=1e-6)
    assert float(found[1]["geco"]["log_multiplier"]) != 0.4
