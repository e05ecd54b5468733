"""The gradient of parts, one after the other, is the batch's."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import models, objectives
from aejax.likelihoods import bernoulli
from aejax.nets import mlp_pair
from aejax.training.sharding import data_mesh, replicated, split_over_batch
from aejax.training.state import TrainState
from aejax.training.step import make_train_step

SHAPE = (4, 4, 1)


def problem(hidden=(6,)):
    model = models.autoencoder(*mlp_pair(SHAPE, hidden), bernoulli(), 2)
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(16, *SHAPE)))
    params = jax.jit(model.init)(jax.random.key(0), {"x": x})["params"]
    params = jax.tree.map(lambda leaf: leaf.astype(x.dtype), params)
    loss_fn = objectives.make_loss(model, objectives.Reconstruction())
    return loss_fn, params, {"x": x}


def after(steps, accumulate, place=lambda tree, split: tree):
    loss_fn, params, batch = problem()
    optimizer = optax.adam(1e-2)
    state = TrainState.create(params, optimizer, jax.random.key(7))
    step = jax.jit(make_train_step(loss_fn, optimizer, accumulate=accumulate))
    state, batch = place(state, False), place(batch, True)
    for _ in range(steps):
        state, metrics = step(state, batch)
    return state.params, metrics


@pytest.mark.parametrize("parts", [2, 4, 16])
def test_parts_are_the_large_batch(parts):
    with jax.enable_x64(True):
        chex.assert_trees_all_close(after(5, parts), after(5, 1), rtol=1e-9, atol=1e-12)


def test_parts_are_the_large_batch_over_devices():
    mesh = data_mesh(4)

    def place(tree, split):
        return jax.device_put(tree, split_over_batch(mesh) if split else replicated(mesh))

    # The checker takes the placing of a key for a use.
    with jax.enable_x64(True), jax.debug_key_reuse(False):
        chex.assert_trees_all_close(after(3, 4, place), after(3, 1), rtol=1e-9, atol=1e-12)


def test_parts_need_less_memory():
    loss_fn, params, _ = problem((64, 64))
    state = TrainState.create(params, optax.adam(1e-2), jax.random.key(7))
    batch = {"x": jax.ShapeDtypeStruct((4096, *SHAPE), jnp.float32)}

    def temporary(parts):
        step = make_train_step(loss_fn, optax.adam(1e-2), accumulate=parts)
        return jax.jit(step).lower(state, batch).compile().memory_analysis().temp_size_in_bytes

    assert temporary(16) < temporary(1) / 2


def test_each_part_draws_its_own_noise_and_extra_is_their_mean():
    def loss_fn(params, extra, batch, key, step):
        draw = jax.random.normal(key)
        loss = params["w"] * draw
        seen = {"mean": jnp.mean(batch["x"]), "steps": extra["steps"] + 1}
        return loss, ({"draw": draw, "square": draw**2}, seen)

    extra = {"mean": jnp.zeros(()), "steps": jnp.zeros((), jnp.int32)}
    state = TrainState.create({"w": jnp.ones(())}, optax.sgd(1.0), jax.random.key(0), extra=extra)
    x = jnp.arange(8.0).reshape(8, 1, 1, 1)
    after, metrics = make_train_step(loss_fn, optax.sgd(1.0), accumulate=4)(state, {"x": x})
    assert metrics["square"] > metrics["draw"] ** 2 + 1e-3  # one draw for all: equal
    assert (float(after.extra["mean"]), int(after.extra["steps"])) == (3.5, 1)
    np.testing.assert_allclose(after.params["w"], 1 - metrics["draw"], rtol=1e-6)


def test_a_batch_that_cannot_be_shared_out_is_named():
    loss_fn, params, batch = problem()
    state = TrainState.create(params, optax.sgd(0.1), jax.random.key(0))
    with pytest.raises(ValueError, match="a batch of 16 cannot be shared out evenly to 3 parts"):
        make_train_step(loss_fn, optax.sgd(0.1), accumulate=3)(state, batch)
