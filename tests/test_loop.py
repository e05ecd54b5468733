import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import UsageError, fit, models, objectives
from aejax.data import stream as stream_module
from aejax.data.resident import gather_batch
from aejax.data.stream import Stream
from aejax.errors import DivergedError
from aejax.likelihoods import bernoulli
from aejax.nets import mlp_pair
from aejax.training import compiled, loop
from aejax.training.compiled import epoch_order, layout
from aejax.training.loop import make_evaluate, make_source, metric_totals, train
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState, evaluation_key
from aejax.training.step import make_eval_step, make_train_step

OPTIMIZER = optax.adam(1e-3)


@pytest.fixture(scope="module")
def vae():
    model = models.vae(*mlp_pair((8, 8, 1), (16,)), 2, bernoulli())
    init_key, key = jax.random.split(jax.random.key(0))
    params = model.init(init_key, {"x": jnp.zeros((1, 8, 8, 1))})["params"]
    loss_fn = objectives.make_loss(model, objectives.Elbo())
    return TrainState.create(params, OPTIMIZER, key), loss_fn


def by_hand(state, loss_fn, images, epochs, batch_size):
    """Training as a plain Python loop over jitted steps."""
    step = jax.jit(make_train_step(loss_fn, OPTIMIZER))
    losses = []
    for epoch in range(epochs):
        for rows in epoch_order(state.key, epoch, len(images), batch_size):
            batch = gather_batch(images.arrays, rows)
            state, metrics = step(state, batch)
            losses.append(float(metrics["loss"]))
    return state, losses


@pytest.mark.parametrize("stream", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fit_is_a_plain_loop_over_the_step(vae, images, stream, monkeypatch):
    monkeypatch.setattr(stream_module, "CHUNK_BYTES", 3 * 8 * 64)
    state, loss_fn = vae
    expected, losses = by_hand(state, loss_fn, images, 3, 8)
    got, history = fit(state, loss_fn, OPTIMIZER, images, epochs=3, batch_size=8, stream=stream)
    chex.assert_trees_all_close(got.params, expected.params, rtol=1e-5, atol=1e-6)
    assert int(got.step) == 12
    assert [r["loss"] for r in history] == pytest.approx(np.mean(np.reshape(losses, (3, 4)), 1))


def test_resident_and_streamed_data_train_the_same_parameters(vae, images):
    state, loss_fn = vae
    results = [
        fit(state, loss_fn, OPTIMIZER, images, images, epochs=2, batch_size=5, stream=stream)
        for stream in (False, True)
    ]
    chex.assert_trees_all_equal(results[0][0].params, results[1][0].params)
    assert [r["loss"] for r in results[0][1]] == [r["loss"] for r in results[1][1]]


def test_any_cut_into_calls_gives_the_same_bits(vae, images, monkeypatch):
    state, loss_fn = vae
    step, mesh = make_train_step(loss_fn, OPTIMIZER), data_mesh(1)
    ends = []
    for calls in (1, 3, 100):
        monkeypatch.setattr("aejax.training.loop._Pace.__call__", lambda self, n=calls: n)
        source = make_source(images, mesh, stream=False)
        *_, last = train(state, step, source, epochs=2, batch_size=4, mesh=mesh)
        ends.append((last.state.params, last.totals))
    chex.assert_trees_all_equal(*ends)


@pytest.mark.parametrize(
    "stop_after",
    [pytest.param(n, marks=pytest.mark.slow) if n in (1, 10) else n for n in (1, 4, 9, 10)],
)
def test_stopping_anywhere_and_going_on_gives_the_same_bits(vae, images, stop_after, monkeypatch):
    monkeypatch.setattr("aejax.training.loop._Pace.__call__", lambda self: 1)
    state, loss_fn = vae
    step, mesh = make_train_step(loss_fn, OPTIMIZER), data_mesh(1)

    def calls(state, totals=None):
        source = make_source(images, mesh, stream=False)
        return train(state, step, source, epochs=3, batch_size=4, mesh=mesh, totals=totals)

    *_, expected = calls(state)
    for progress, _ in zip(calls(state), range(stop_after), strict=False):
        stopped = jax.tree.map(jnp.copy, (progress.state, progress.totals))
    *_, resumed = calls(*stopped)
    chex.assert_trees_all_equal(resumed.state.params, expected.state.params)
    chex.assert_trees_all_equal(resumed.totals, expected.totals)


def test_eight_devices_train_what_one_does(vae, images):
    state, loss_fn = vae
    ends = [
        fit(state, loss_fn, OPTIMIZER, images, images, epochs=2, batch_size=8, devices=devices)
        for devices in (1, 8)
    ]
    chex.assert_trees_all_close(ends[0][0].params, ends[1][0].params, rtol=1e-4, atol=1e-6)
    assert ends[0][1][-1]["loss"] == pytest.approx(ends[1][1][-1]["loss"], rel=1e-5)


def test_evaluation_is_exact_on_a_last_partial_batch(vae, images):
    state, loss_fn = vae
    mesh = data_mesh(1)
    for stream in (False, True):
        source = make_source(images, mesh, stream=stream)
        evaluate = make_evaluate(make_eval_step(loss_fn), source, batch_size=16, mesh=mesh)
        got = evaluate(state)
        total = 0.0
        for batch, start in enumerate(range(0, 37, 16)):
            # The noise of a full batch, as the evaluation draws it; the loss of the rows there are.
            rows = np.minimum(np.arange(start, start + 16), 36)
            rows = np.where(np.arange(start, start + 16) < 37, rows, 0)
            data = gather_batch(images.arrays, rows)
            data["mask"] = np.arange(start, start + 16) < 37
            _, (metrics, _) = loss_fn(
                state.params, {}, data, evaluation_key(state.key, batch), state.step
            )
            total += float(metrics["loss"]) * int(data["mask"].sum())
        assert got["loss"] == pytest.approx(total / 37, rel=1e-5)


def test_the_initial_state_stays_usable(vae, images):
    state, loss_fn = vae
    before = jax.tree.map(np.asarray, state.params)
    fit(state, loss_fn, OPTIMIZER, images, epochs=1, batch_size=8)
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, state.params), before)


def test_a_loss_that_is_not_finite_stops_at_its_step(vae, images):
    state, loss_fn = vae

    def diverging(params, extra, batch, key, step):
        loss, rest = loss_fn(params, extra, batch, key, step)
        loss = jnp.where(step == 5, jnp.nan, loss)
        return loss, (rest[0] | {"loss": loss}, rest[1])

    with pytest.raises(DivergedError, match="not finite at step 6"):
        fit(state, diverging, OPTIMIZER, images, epochs=3, batch_size=8)


@pytest.mark.parametrize(
    ("batch_size", "devices", "message"),
    [(0, 1, "not positive"), (38, 1, "at most 37"), (9, 8, "not a multiple of the 8 devices")],
)
def test_bad_batch_sizes_are_explained(vae, images, batch_size, devices, message):
    state, loss_fn = vae
    with pytest.raises(UsageError, match=message):
        fit(state, loss_fn, OPTIMIZER, images, epochs=1, batch_size=batch_size, devices=devices)


@pytest.mark.parametrize("diverges", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_gpus_loop_gives_the_bits_of_a_cpus(vae, images, diverges, monkeypatch):
    """Blocks of a known length, the last of which is not whole."""
    state, loss_fn = vae
    state = dataclasses.replace(state, ema=state.params, extra={"seen": jnp.zeros((), jnp.int32)})

    def loss(params, extra, batch, key, step):
        value, (metrics, _) = loss_fn(params, {}, batch, key, step)
        bad = jnp.where((step == 6) & diverges, jnp.nan, 1.0)
        return value * bad, (metrics | {"loss": value * bad}, {"seen": extra["seen"] + 1})

    step, mesh = make_train_step(loss, OPTIMIZER), data_mesh(1)
    place = layout(step, state, mesh)
    totals = metric_totals(step, state, images.spec, 4)
    arrays = next(
        make_source(images, mesh, stream=True).segments(
            epoch_order(state.key, 0, 37, 4), 0, lambda: 9
        )
    ).arrays
    ends = []
    for on_cpu in (True, False):
        monkeypatch.setattr(compiled, "on_cpu", lambda mesh, on_cpu=on_cpu: on_cpu)
        monkeypatch.setattr(compiled, "_BLOCK", 5)
        segment = compiled.make_train_segment(step, Stream.take, mesh)
        carry = jax.device_put(jax.tree.map(jnp.copy, (state, totals)), place)
        for first, last in ((0, 0), (0, 2), (2, 9)):
            carry = segment(*carry, (), arrays, first, last)
        ends.append(carry)
    assert int(ends[0][0].step) == (7 if diverges else 9)
    chex.assert_trees_all_equal(*(dataclasses.replace(end[0], key=None) for end in ends))
    chex.assert_trees_all_equal(ends[0][1], ends[1][1])


def test_a_step_is_told_that_it_trains(vae, images):
    """By a Python bool, also in the parts of an accumulated batch."""
    seen = []

    def loss_fn(params, extra, batch, key, step):
        seen.append(batch["train"])
        loss = jnp.sum(params["w"] ** 2) + (0.0 if batch["train"] else 1.0)
        return loss, ({"loss": loss}, extra)

    state = TrainState.create({"w": jnp.ones(2)}, OPTIMIZER, jax.random.key(0))
    batch = {"x": jnp.zeros((4, 2, 2, 1))}
    for parts in (1, 2):
        jax.jit(make_train_step(loss_fn, OPTIMIZER, accumulate=parts))(state, batch)
    assert float(make_eval_step(loss_fn)(state, batch)["loss"]) == 3.0
    assert set(seen[:-1]) == {True}
    assert seen[-1] is False


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [(0.01, 50), (0.1, 8), (0.4, 8), (1.0, 4), (10.0, 1)],
)
def test_a_call_has_few_steps_only_where_they_are_slow(seconds, steps):
    pace = loop._Pace()
    for _ in range(3):
        pace.adapt(pace(), seconds * pace())
    assert pace() == steps
    assert loop._Pace(block=7, steps=steps)() % 7 == 0


def test_compiles_once_however_the_epochs_are_cut(vae, images):
    state, loss_fn = vae
    counted = chex.assert_max_traces(make_train_step(loss_fn, OPTIMIZER), 3)
    mesh = data_mesh(1)
    source = make_source(images, mesh, stream=False)
    for _ in train(state, counted, source, epochs=4, batch_size=4, mesh=mesh):
        pass
