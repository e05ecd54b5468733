"""One step against updates written by hand, and the same step on one device and on eight."""

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from aejax import objectives
from aejax.likelihoods import bernoulli
from aejax.models import VAE, Autoencoder, Point, flax_model
from aejax.nets import mlp_pair
from aejax.training.sharding import data_mesh, replicated, split_over_batch
from aejax.training.state import TrainState, evaluation_key
from aejax.training.step import make_eval_step, make_train_step

SHAPE, DEVICES, STEPS = (4, 4, 1), 8, 20
ADAM, STILL = optax.adam(1e-2), optax.sgd(0.0)
CLOSE = {"rtol": 1e-9, "atol": 1e-10}  # in double precision


def problem(kind):
    """A model's loss, its parameters and a batch of 16 images, in the default precision."""
    return cached_problem(kind, jnp.result_type(float))


@functools.cache
def cached_problem(kind, dtype):
    model = flax_model(kind(*mlp_pair(SHAPE, (6,)), latent_dim=2, likelihood=bernoulli()))
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(16, *SHAPE)), dtype)
    params = jax.jit(model.init)(jax.random.key(0), {"x": x})["params"]
    params = jax.tree.map(lambda a: a.astype(dtype), params)
    objective = objectives.Elbo() if kind is VAE else objectives.Reconstruction()
    return objectives.make_loss(model, objective), params, {"x": x}


@pytest.fixture
def double():
    """Adam divides by gradients that may be near zero, where single precision shows."""
    with jax.enable_x64(True):
        yield


def start(kind, optimizer, **options):
    return TrainState.create(problem(kind)[1], optimizer, jax.random.key(7), **options)


@functools.cache
def compiled(kind, optimizer):
    return jax.jit(make_train_step(problem(kind)[0], optimizer))


def train(kind, optimizer, steps=5, **options):
    step, state, batch = (
        compiled(kind, optimizer),
        start(kind, optimizer, **options),
        problem(kind)[2],
    )
    for _ in range(steps):
        state, metrics = step(state, batch)
    return state, metrics


def key_bits(key):
    return np.asarray(jax.random.key_data(key))


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_updates_written_by_hand(double, kind, name):
    rate, b1, b2, eps = 0.01, 0.9, 0.999, 1e-8
    optimizer = optax.sgd(rate) if name == "sgd" else optax.adam(rate, b1, b2, eps)
    state, _ = train(kind, optimizer, steps=3)
    loss_fn, params, batch = problem(kind)
    gradient = jax.jit(jax.grad(lambda p, key, k: loss_fn(p, {}, batch, key, k)[0]))
    first = second = jax.tree.map(jnp.zeros_like, params)
    for k in range(3):
        grads = gradient(params, jax.random.fold_in(jax.random.key(7), k), k)
        if name == "sgd":
            update = grads
        else:
            first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, grads)
            second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, second, grads)
            scale = 1 - b1 ** (k + 1), 1 - b2 ** (k + 1)
            update = jax.tree.map(
                lambda m, v, scale=scale: m / scale[0] / (jnp.sqrt(v / scale[1]) + eps),
                first,
                second,
            )
        params = jax.tree.map(lambda p, u: p - rate * u, params, update)
    chex.assert_trees_all_close(state.params, params, **CLOSE)


def test_step_counts_and_keeps_the_key():
    state, metrics = train(VAE, ADAM, steps=3)
    assert state.step == 3
    chex.assert_type(state.step, jnp.int32)
    np.testing.assert_array_equal(key_bits(state.key), key_bits(jax.random.key(7)))
    chex.assert_shape(list(metrics.values()), ())
    chex.assert_tree_all_finite((metrics, state.params))
    chex.assert_trees_all_equal_shapes_and_dtypes(state.params, problem(VAE)[1])


def test_training_is_deterministic_and_lowers_the_loss():
    (first, _), (second, metrics) = train(VAE, ADAM), train(VAE, ADAM)
    chex.assert_trees_all_equal(first.params, second.params)
    later = train(VAE, ADAM, steps=100)[1]
    assert later["loss"] < metrics["loss"]


def test_each_step_draws_its_own_noise():
    """At a learning rate of zero only the noise changes between steps."""
    losses = [train(VAE, STILL, steps=k)[1]["loss"] for k in (1, 2, 3)]
    assert len({float(loss) for loss in losses}) == 3


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_the_average_is_optaxs_debiased_one(decay):
    loss_fn, params, batch = problem(Autoencoder)
    step = jax.jit(make_train_step(loss_fn, optax.sgd(0.1), ema_decay=decay))
    average = optax.ema(decay, debias=True)
    state, kept = start(Autoencoder, optax.sgd(0.1), ema=True), average.init(params)
    for _ in range(3):
        state, _ = step(state, batch)
        expected, kept = average.update(state.params, kept)
        # 1 - 0.999^n has few digits left in Optax's float32.
        chex.assert_trees_all_close(state.ema, expected, rtol=2e-4, atol=1e-6)
    plain, _ = train(Autoencoder, optax.sgd(0.1), steps=3)
    chex.assert_trees_all_close(state.params, plain.params, rtol=1e-6)
    assert plain.ema is None


def test_the_average_holds_nothing_of_the_initial_parameters():
    """At 0.9999 one that begins with them is nearly all theirs after a hundred updates."""
    loss_fn, _, batch = problem(Autoencoder)
    step = jax.jit(make_train_step(loss_fn, optax.sgd(0.1), ema_decay=0.9999))
    state, seen = start(Autoencoder, optax.sgd(0.1), ema=True), []
    for _ in range(20):
        state, _ = step(state, batch)
        seen.append(state.params)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *seen)
    chex.assert_trees_all_close(state.ema, mean, rtol=1e-2, atol=1e-4)


def test_an_average_is_what_is_evaluated():
    loss_fn, params, batch = problem(Autoencoder)
    state = start(Autoencoder, STILL, ema=True)
    state = dataclasses.replace(state, params=jax.tree.map(lambda leaf: leaf + 1, params))
    loss = make_eval_step(loss_fn)(state, batch)["loss"]
    np.testing.assert_allclose(loss, loss_fn(params, {}, batch, state.key, 0)[0], rtol=1e-6)
    assert make_eval_step(loss_fn)(dataclasses.replace(state, ema=None), batch)["loss"] != loss


def test_extra_and_the_step_are_passed_through():
    def loss_fn(params, extra, batch, key, step):
        return params["w"] ** 2, ({"step": step}, {"count": extra["count"] + 1.0})

    state = TrainState.create(
        {"w": jnp.array(1.0)}, optax.sgd(0.1), jax.random.key(0), extra={"count": jnp.zeros(())}
    )
    step = make_train_step(loss_fn, optax.sgd(0.1))
    for k in range(3):
        state, metrics = step(state, {"x": jnp.zeros((1, *SHAPE))})
        assert metrics["step"] == k
    assert state.extra["count"] == 3
    np.testing.assert_allclose(state.params["w"], 0.8**3, rtol=1e-6)


def pmapped(step, state, batch):
    """Keeps a copy of the state on every device, and finds the copies equal at the end."""
    state = jax.tree.map(lambda a: jnp.broadcast_to(a, (DEVICES, *a.shape)), state)
    batch = jax.tree.map(lambda a: a.reshape(DEVICES, -1, *a.shape[1:]), batch)
    step = jax.pmap(step, axis_name="data")
    for _ in range(STEPS):
        state, metrics = step(state, batch)
    for tree in (state.params, state.opt_state, metrics):
        for leaf in map(np.asarray, jax.tree.leaves(tree)):
            np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    return jax.tree.map(lambda a: a[0], (state.params, metrics))


def shard_mapped(step, state, batch):
    mesh = data_mesh()
    step = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P())))
    for _ in range(STEPS):
        state, metrics = step(state, batch)
    return state.params, metrics


def sharded(step, state, batch):
    mesh = data_mesh()
    state, batch = (
        jax.device_put(state, replicated(mesh)),
        jax.device_put(batch, split_over_batch(mesh)),
    )
    assert len(batch["x"].addressable_shards) == DEVICES
    step = jax.jit(step)
    for _ in range(STEPS):
        state, metrics = step(state, batch)
    return state.params, metrics


@pytest.mark.parametrize("run", [pmapped, shard_mapped, sharded])
@pytest.mark.parametrize(
    "optimizer", [pytest.param(optax.sgd(0.05), marks=pytest.mark.slow), ADAM], ids=["sgd", "adam"]
)
def test_eight_devices_equal_one(double, run, optimizer):
    loss_fn, _, batch = problem(Autoencoder)
    one, one_metrics = train(Autoencoder, optimizer, STEPS)
    axis_name = None if run is sharded else "data"
    step = make_train_step(loss_fn, optimizer, axis_name=axis_name)
    params, metrics = run(step, start(Autoencoder, optimizer), batch)
    chex.assert_trees_all_close(jax.device_get(params), jax.device_get(one.params), **CLOSE)
    chex.assert_trees_all_close(jax.device_get(metrics), jax.device_get(one_metrics), **CLOSE)


@pytest.mark.parametrize("run", [pmapped, shard_mapped])
def test_each_device_draws_its_own_noise(run):
    """The same image on every device gives as many losses as there are devices."""
    vae_loss, _, batch = problem(VAE)

    def loss_fn(*args):
        loss, (metrics, extra) = vae_loss(*args)
        position = jnp.arange(DEVICES) == jax.lax.axis_index("data")
        return loss, ({**metrics, "each": DEVICES * position * loss}, extra)

    batch = {"x": jnp.broadcast_to(batch["x"][:1], (DEVICES, *SHAPE))}
    step = make_train_step(loss_fn, optax.sgd(0.0), axis_name="data")
    _, metrics = run(step, start(VAE, optax.sgd(0.0)), batch)
    assert len(np.unique(np.round(metrics["each"], 4))) == DEVICES
    np.testing.assert_allclose(np.mean(metrics["each"]), metrics["loss"], rtol=1e-5)


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_evaluation_repeats_itself_and_changes_nothing(kind):
    loss_fn, params, batch = problem(kind)
    state, evaluate = start(kind, optax.adam(1e-2)), jax.jit(make_eval_step(loss_fn))
    first, second = evaluate(state, batch), evaluate(state, batch)
    chex.assert_trees_all_equal(first, second)
    chex.assert_tree_all_finite(first)
    chex.assert_trees_all_equal(state.params, params)
    assert state.step == 0
    given = evaluate(state, batch, evaluation_key(state.key, 0))
    chex.assert_trees_all_equal(first, given)
    other = evaluate(state, batch, evaluation_key(state.key, 1))
    assert (first["loss"] != other["loss"]) == (kind is VAE)


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
@pytest.mark.parametrize("filler", [pytest.param(0.5, marks=pytest.mark.slow), np.nan])
def test_evaluation_ignores_masked_rows(kind, filler):
    loss_fn, _, batch = problem(kind)
    state, evaluate = start(kind, optax.adam(1e-2)), jax.jit(make_eval_step(loss_fn))
    mask = jnp.arange(16) < 11
    masked = evaluate(state, {**batch, "mask": mask})
    filled = jnp.where(mask.reshape(16, 1, 1, 1), batch["x"], filler)
    chex.assert_trees_all_equal(evaluate(state, {"x": filled, "mask": mask}), masked)
    if kind is Autoencoder:
        alone = evaluate(state, {"x": batch["x"][:11]})
        chex.assert_trees_all_close(alone, masked, rtol=1e-5)


class Counting(nn.Module):
    """A linear model of x that normalises it and counts the batches it trained on."""

    @nn.compact
    def posterior(self, batch):
        train = batch.get("train", False)
        seen = self.variable("counts", "batches", lambda: jnp.zeros((), jnp.int32))
        if train:
            seen.value += 1
        x = batch["x"].reshape(len(batch["x"]), -1)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(x)
        return Point(nn.Dense(2, name="code")(x))

    def prior(self, batch=None):
        return None

    def decode(self, z, batch=None):
        return z

    def log_likelihood(self, batch, z):
        return -jnp.sum(z**2, axis=-1)

    def draw(self, key, z, batch=None):
        return z


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_models_collections_change_in_training_and_not_in_an_evaluation(accumulate):
    """With BatchNorm, by hand: the running mean is halfway to the batch's after one step."""
    model = flax_model(Counting())
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, *SHAPE)), jnp.float32)
    variables = model.init(jax.random.key(0), {"x": x})
    params = variables.pop("params")
    assert set(variables) == {"batch_stats", "counts"}
    loss_fn = objectives.make_loss(model, objectives.Reconstruction())
    state = TrainState.create(params, STILL, jax.random.key(1), extra=variables)
    step = jax.jit(make_train_step(loss_fn, STILL, accumulate=accumulate))
    after, trained = step(state, {"x": x})
    assert int(after.extra["counts"]["batches"]) == 1
    rows = np.asarray(x).reshape(16, -1)
    kept, params = jax.device_get((after.extra, params))
    norm = kept["batch_stats"]["norm"]
    np.testing.assert_allclose(norm["mean"], rows.mean(axis=0) / 2, rtol=1e-4, atol=1e-6)
    # An evaluation normalises by what is kept, whatever is in the batch, and keeps nothing.
    evaluate = jax.jit(make_eval_step(loss_fn))
    first, second = evaluate(after, {"x": x}), evaluate(after, {"x": x})
    chex.assert_trees_all_equal(first, second)
    chex.assert_trees_all_equal(jax.device_get(after.extra), kept)
    scaled = (rows - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
    code = scaled @ params["code"]["kernel"] + params["code"]["bias"]
    np.testing.assert_allclose(first["loss"], np.sum(code**2, axis=-1).mean(), rtol=1e-4)
    assert abs(first["loss"] - trained["loss"]) > 1e-3
