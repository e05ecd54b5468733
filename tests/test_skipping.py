"""Outliers among gradients are left out, counted, and named when there are too many."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax.data.dataset import Dataset
from aejax.errors import DivergedError
from aejax.training import skipping
from aejax.training.fit import fit
from aejax.training.members import stack_states
from aejax.training.population import fit_population
from aejax.training.skipping import WINDOW, skip_outliers
from aejax.training.state import TrainState
from aejax.training.step import make_train_step

PARAMS = {"w": jnp.ones(3)}


def feed(optimizer, norms):
    """The parameters and the state after gradients of these norms."""
    update = jax.jit(optimizer.update)
    params, state = PARAMS, optimizer.init(PARAMS)
    for norm in norms:
        grads = {"w": jnp.array([norm, 0.0, 0.0], jnp.float32)}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def guarded(optimizer, factor=3.0, patience=3):
    return skip_outliers(optimizer, factor=factor, patience=patience)


def test_without_an_outlier_it_is_the_optimiser():
    norms = np.random.default_rng(0).uniform(1, 2, 50)
    plain, inner = feed(optax.adam(0.1), norms)
    params, state = feed(guarded(optax.adam(0.1)), norms)
    chex.assert_trees_all_equal((params, state.inner), (plain, inner))
    assert (int(state.made), int(state.skipped)) == (50, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, 7.0])
def test_an_outlier_changes_nothing_but_the_count(bad):
    norms = list(np.random.default_rng(0).uniform(1, 2, 30))
    expected, before = feed(guarded(optax.adam(0.1)), norms)
    params, state = feed(guarded(optax.adam(0.1)), [*norms, bad])
    chex.assert_trees_all_equal(params, expected)
    chex.assert_trees_all_equal((state.inner, state.norms), (before.inner, before.norms))
    assert (int(state.made), int(state.skipped), int(state.left)) == (30, 1, 2)


def test_the_limit_is_a_multiple_of_the_quantile_of_the_last_hundred():
    norms = np.random.default_rng(1).uniform(1, 2, WINDOW + 37)
    _, state = feed(guarded(optax.sgd(0.1)), [*norms, 1.0])
    expected = 3.0 * np.quantile(norms[-WINDOW:].astype(np.float32), 0.9)
    np.testing.assert_allclose(state.limit, expected, rtol=1e-6)
    few = feed(guarded(optax.sgd(0.1)), [1.0] * 19 + [1e6])[1]
    assert not few.skipped  # too few to judge by


def test_patience_is_renewed_by_an_update_made():
    norms = [1.0] * 25
    assert not skipping.gave_up(feed(guarded(optax.sgd(0.1)), [*norms, 9, 9, 9])[1])
    assert skipping.gave_up(feed(guarded(optax.sgd(0.1)), [*norms, 9, 9, 9, 9])[1])
    assert not skipping.gave_up(feed(guarded(optax.sgd(0.1)), [*norms, 9, 9, 9, 1, 9, 9, 9])[1])


def images(*levels):
    pixels = np.repeat(np.array(levels, np.uint8), 4).reshape(len(levels), 2, 2, 1)
    return Dataset({"x": pixels, "label": np.zeros(len(levels), np.int32)})


def loss_fn(params, extra, batch, key, step):
    """A quadratic, but NaN where the batch has a black image, and a count of what it saw."""
    level = jnp.mean(batch["x"], axis=(1, 2, 3))
    loss = jnp.mean(jnp.where(level == 0, jnp.nan, 1.0)) * jnp.sum((params["w"] - 0.5) ** 2)
    return loss, ({"loss": loss}, {"seen": extra["seen"] + jnp.mean(level) * loss})


def state_of(optimizer, **options):
    extra = {"seen": jnp.zeros(())}
    return TrainState.create(PARAMS, optimizer, jax.random.key(0), extra=extra, **options)


def test_a_step_skips_the_whole_of_an_update():
    optimizer = guarded(optax.sgd(0.1))
    step = jax.jit(make_train_step(loss_fn, optimizer, ema_decay=0.5))
    good, bad = ({"x": jnp.full((2, 2, 2, 1), v)} for v in (0.5, 0.0))
    before, _ = step(state_of(optimizer, ema=True), good)
    after, _ = step(before, bad)
    chex.assert_trees_all_equal(
        (after.params, after.ema, after.extra), (before.params, before.ema, before.extra)
    )
    assert (int(after.step), int(after.opt_state.skipped)) == (2, 1)
    chex.assert_tree_all_finite(after.params)


def test_an_outlier_is_left_out_wherever_in_a_chain_the_guard_stands():
    """What follows the guard would decay the parameters; a run counts, and ends, as ever."""
    guard = guarded(optax.sgd(0.1))
    optimizer = optax.chain(optax.identity(), optax.chain(guard), optax.add_decayed_weights(-0.1))
    step = jax.jit(make_train_step(loss_fn, optimizer))
    good, bad = ({"x": jnp.full((2, 2, 2, 1), v)} for v in (0.5, 0.0))
    before, metrics = step(state_of(optimizer), good)
    assert float(metrics["applied"]) == 1.0
    after, metrics = step(before, bad)
    assert float(metrics["applied"]) == 0.0
    chex.assert_trees_all_equal((after.params, after.extra), (before.params, before.extra))
    data = images(*[255] * 9, 0)
    _, history = fit(state_of(optimizer), loss_fn, optimizer, data, epochs=2, batch_size=2)
    assert [line["skipped"] for line in history] == [1, 2]
    assert "applied" not in history[0]
    assert np.isfinite(history[-1]["loss"])
    with pytest.raises(DivergedError, match=r"the last at step 4: the gradient's norm is nan"):
        fit(state_of(optimizer), loss_fn, optimizer, images(*[0] * 20), epochs=1, batch_size=2)


def test_an_average_counts_the_updates_that_were_made():
    optimizer = guarded(optax.sgd(0.1))
    step = jax.jit(make_train_step(loss_fn, optimizer, ema_decay=0.9))
    good, bad = ({"x": jnp.full((2, 2, 2, 1), v)} for v in (0.5, 0.0))

    def after(*batches):
        state = state_of(optimizer, ema=True)
        for batch in batches:
            state, _ = step(state, batch)
        return state.ema

    chex.assert_trees_all_close(after(bad, good, bad, good), after(good, good), rtol=1e-6)


def test_a_run_counts_what_it_skips_and_leaves_it_out_of_the_means():
    optimizer = guarded(optax.sgd(0.0))
    data = images(*[255] * 9, 0)  # one black image: one batch in five
    state, history = fit(state_of(optimizer), loss_fn, optimizer, data, epochs=3, batch_size=2)
    assert [line["skipped"] for line in history] == [1, 2, 3]
    np.testing.assert_allclose([line["loss"] for line in history], 0.75)
    assert int(state.step) == 15


def test_too_many_in_a_row_end_the_run_with_step_and_cause():
    optimizer = guarded(optax.sgd(0.1))
    with pytest.raises(DivergedError, match=r"the last at step 4: the gradient's norm is nan"):
        fit(state_of(optimizer), loss_fn, optimizer, images(*[0] * 20), epochs=1, batch_size=2)
    _, state = feed(optimizer, [2.0] * 25 + [9.0])
    assert skipping.cause(state) == "the gradient's norm 9 is an outlier, over 6"


def test_an_epoch_that_is_wholly_skipped_does_not_end_a_run_or_a_member():
    """Skipping no more than the patience allows, alone and in a population."""
    optimizer = guarded(optax.sgd(0.1), patience=20)
    data = images(*[0] * 20)
    state, history = fit(state_of(optimizer), loss_fn, optimizer, data, epochs=1, batch_size=2)
    assert (int(state.step), history[0]["skipped"]) == (10, 10)
    assert np.isnan(history[0]["loss"])

    def member(own):
        return loss_fn, optimizer

    states = stack_states([state_of(optimizer)])
    with jax.debug_key_reuse(False):
        found = fit_population(states, member, data, hyperparameters=(), epochs=1, batch_size=2)
    assert found.diverged == [None]
    assert found.history[0]["skipped"] == [10]


def test_a_member_that_gives_up_is_frozen():
    def member(own):
        optimizer = guarded(optax.sgd(own["rate"]))
        return lambda p, *rest: loss_fn({"w": p["w"] * own["scale"]}, *rest), optimizer

    own = {"rate": jnp.array([0.1, 0.1]), "scale": jnp.array([1.0, jnp.nan])}
    states = stack_states([state_of(guarded(optax.sgd(0.1))) for _ in range(2)])
    data = images(*[255] * 20)
    with jax.debug_key_reuse(False):
        found = fit_population(states, member, data, hyperparameters=own, epochs=2, batch_size=2)
    assert found.diverged == [None, 4]
    assert found.states.step.tolist() == [20, 4]
