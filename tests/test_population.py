"""A member of a population is the run alone, however the members are gone through."""

import json
import os
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import models, nets, objectives
from aejax.data import stream
from aejax.data.dataset import Dataset
from aejax.likelihoods import bernoulli
from aejax.training.fit import fit
from aejax.training.loop import make_source, train
from aejax.training.members import MemberSteps, member_state, stack_states
from aejax.training.population import fit_population
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import make_train_step

MODEL = models.vae(*nets.mlp_pair((6, 6, 1), (8,)), 2, bernoulli())
BETAS, RATES = jnp.array([0.5, 1.0, 4.0, 2.0]), jnp.array([1e-3, 3e-3, 1e-3, 1e-2])


def member(own):
    loss_fn = objectives.make_loss(MODEL, objectives.Elbo(beta=own["beta"]))
    return loss_fn, optax.adam(own["rate"])


def states(count=4):
    def one(seed):
        init_key, key = jax.random.split(jax.random.key(seed))
        params = MODEL.init(init_key, {"x": jnp.zeros((1, 6, 6, 1))})["params"]
        return TrainState.create(params, optax.adam(1e-3), key)

    return [one(seed) for seed in range(count)]


OWN = {"beta": BETAS, "rate": RATES}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)

    def images(count):
        pixels = rng.integers(0, 256, (count, 6, 6, 1), dtype=np.uint8)
        return Dataset({"x": pixels, "label": np.zeros(count, np.int32)})

    return images(100), images(30)


@pytest.mark.parametrize(
    ("strategy", "devices"),
    [
        ("map", 1),
        ("vmap", 2),
        *(pytest.param(*way, marks=pytest.mark.slow) for way in (("map", 4), ("vmap", 1))),
    ],
)
def test_a_member_is_the_run_alone(data, strategy, devices):
    train, test = data
    # The checker takes shard_map for a use of every key that enters it.
    with jax.debug_key_reuse(devices == 1):
        population = fit_population(
            stack_states(states()),
            member,
            train,
            test,
            hyperparameters=OWN,
            epochs=2,
            batch_size=16,
            strategy=strategy,
            devices=devices,
        )
        population = jax.device_get(population._replace(states=population.states.params))
    assert population.diverged == [None] * 4
    assert [line["split"] for line in population.history] == ["train", "test"] * 2
    for i in (1, 3):
        state = states()[i]
        loss_fn, optimizer = member({name: float(values[i]) for name, values in OWN.items()})
        alone, history = fit(state, loss_fn, optimizer, train, test, epochs=2, batch_size=16)
        got = jax.tree.map(lambda leaf, i=i: leaf[i], population.states)
        if strategy == "map":  # to the bit with the tests' flags, by which nothing is folded
            chex.assert_trees_all_equal(got, alone.params)
        chex.assert_trees_all_close(got, alone.params, rtol=2e-4, atol=2e-6)
        for line, expected in zip(population.history, history, strict=True):
            for name in ("loss", "reconstruction", "kl", "elbo"):
                np.testing.assert_allclose(line[name][i], expected[name], rtol=1e-4)


@pytest.mark.slow
def test_to_the_bit_are_seeds_and_to_rounding_numbers():
    """With the compiler's own flags, where it folds what is a constant in the run alone."""
    script = Path(__file__).parent / "members_alone.py"
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found.pop("seeds alone") == 0.0
    assert max(found.values()) < 1e-6


def test_a_member_is_taken_out():
    _, two = states(2)
    with jax.debug_key_reuse(False):  # which takes stacking for a use
        taken = member_state(stack_states(states(2)), 1)
        drawn = [jax.random.uniform(state.key) for state in (taken, two)]
    chex.assert_trees_all_equal(taken.params, two.params)
    assert drawn[0] == drawn[1]


def test_going_on_is_as_if_in_one_go(data):
    train, _ = data
    settings = {"hyperparameters": OWN, "batch_size": 16}
    whole = fit_population(stack_states(states()), member, train, epochs=3, **settings)
    part = fit_population(stack_states(states()), member, train, epochs=1, **settings)
    rest = fit_population(part.states, member, train, epochs=3, **settings)
    chex.assert_trees_all_equal(rest.states.params, whole.states.params)
    assert [line["epoch"] for line in rest.history] == [2, 3]


def test_streamed_members_are_those_of_resident_images(data, monkeypatch):
    """Each reads its own order, from chunks of three steps of all, and stops and goes on there."""
    monkeypatch.setattr(stream, "CHUNK_BYTES", 3 * 4 * 16 * (36 + 4))
    steps = MemberSteps(lambda own: make_train_step(*member(own)), OWN)
    expected = fit_population(
        stack_states(states()), member, data[0], hyperparameters=OWN, epochs=2, batch_size=16
    )
    mesh = data_mesh(2)

    def calls(*at):
        start, totals = at if at else (stack_states(states()), None)
        source = make_source(data[0], mesh, stream=True)
        return train(start, steps, source, epochs=2, batch_size=16, mesh=mesh, totals=totals)

    with jax.debug_key_reuse(False):
        for progress in calls():
            if progress.step == 9:
                break
        *_, last = calls(*jax.tree.map(jnp.copy, (progress.state, progress.totals)))
    chex.assert_trees_all_close(
        jax.device_get(last.state.params), jax.device_get(expected.states.params), rtol=1e-6
    )
    means = expected.history[-1]["loss"]
    np.testing.assert_allclose(last.totals.means()["loss"], means, rtol=1e-6)


@pytest.mark.parametrize("strategy", [pytest.param("map", marks=pytest.mark.slow), "vmap"])
def test_a_member_that_diverges_stops_and_the_others_go_on(data, strategy):
    train, test = data
    own = {"beta": BETAS, "rate": RATES.at[1].set(1e30)}
    settings = {"epochs": 3, "batch_size": 16, "strategy": strategy}
    population = fit_population(
        stack_states(states()), member, train, test, hyperparameters=own, **settings
    )
    assert [step is None for step in population.diverged] == [True, False, True, True]
    assert 1 < population.diverged[1] < 18
    plain = fit_population(stack_states(states()), member, train, hyperparameters=OWN, **settings)
    for i in (0, 2, 3):
        found, expected = (
            jax.tree.map(lambda leaf, i=i: leaf[i], p.states.params) for p in (population, plain)
        )
        chex.assert_trees_all_equal(found, expected)
    assert int(population.states.step[0]) == 18


def test_members_may_differ_by_their_seeds_alone(data):
    train, _ = data

    def alike(own):
        return objectives.make_loss(MODEL, objectives.Elbo()), optax.adam(1e-3)

    population = fit_population(
        stack_states(states(2)), alike, train, hyperparameters=None, epochs=1, batch_size=50
    )
    losses = population.history[-1]["loss"]
    assert losses[0] != losses[1]


def test_all_members_are_traced_once(data):
    train, _ = data
    traces = []

    def counted(own):
        traces.append(1)
        return member(own)

    for count in (2, 4):
        traces.clear()
        own = jax.tree.map(lambda a, n=count: a[:n], OWN)
        stacked = stack_states(states(count))
        fit_population(stacked, counted, train, hyperparameters=own, epochs=2, batch_size=16)
        assert len(traces) <= 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hyperparameters": {"beta": BETAS[:3], "rate": RATES}}, r"\['beta'\] \(3,\) is not \[4"),
        ({"hyperparameters": {"beta": 1.0, "rate": RATES}}, r"\['beta'\] \(\) is not \[4"),
        ({"devices": 3}, "4 members cannot be shared out evenly to 3 devices"),
        ({"devices": 9}, "devices 9 is not within 1 and the 8 at hand"),
        ({"devices": 0}, "devices 0 is not within 1 and the 8 at hand"),
        ({"batch_size": 101}, "batch size 101 is larger than the data set"),
    ],
)
def test_what_does_not_fit_is_one_line(data, change, message):
    settings = {"hyperparameters": OWN, "epochs": 1, "batch_size": 16} | change
    with pytest.raises(ValueError, match=message):
        fit_population(stack_states(states()), member, data[0], **settings)
