"""The training state as a pytree, and the streams of keys."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax.training.state import TrainState, evaluation_key, shuffle_key, step_key


@pytest.fixture(params=[False, True], ids=["plain", "ema"])
def state(request):
    params = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.zeros(3)}
    extra = {"batch_stats": {"mean": jnp.ones(3)}}
    key = jax.random.key(0)
    return TrainState.create(params, optax.adam(1e-3), key, extra=extra, ema=request.param)


def assert_same(a, b):
    def raw(leaf):
        return (
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )

    chex.assert_trees_all_equal(jax.tree.map(raw, a), jax.tree.map(raw, b))


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_create(state):
    chex.assert_shape(state.step, ())
    chex.assert_type(state.step, jnp.int32)
    assert state.step == 0
    chex.assert_trees_all_equal(state.opt_state, optax.adam(1e-3).init(state.params))
    assert bits(state.key) == bits(jax.random.key(0))
    if state.ema is not None:
        chex.assert_trees_all_equal(state.ema, state.params)


def test_create_fills_in_defaults():
    state = TrainState.create({"w": jnp.ones(2)}, optax.sgd(0.1), jax.random.key(0))
    assert state.extra == {}
    assert state.ema is None


def test_the_average_has_buffers_of_its_own():
    """Otherwise a donated state would give the same buffer away twice."""
    state = TrainState.create({"w": jnp.ones(2)}, optax.sgd(0.1), jax.random.key(0), ema=True)
    state = jax.jit(lambda state: state, donate_argnums=0)(state)
    chex.assert_trees_all_equal(state.ema, {"w": jnp.ones(2)})


def test_flatten_and_unflatten(state):
    leaves, structure = jax.tree.flatten(state)
    back = jax.tree.unflatten(structure, leaves)
    assert isinstance(back, TrainState)
    assert_same(back, state)
    assert len(leaves) == 1 + 2 + (1 + 2 * 2) + 1 + 1 + (2 if state.ema else 0)


def test_through_jit_map_and_paths(state):
    out = jax.jit(lambda state: state)(state)
    assert isinstance(out, TrainState)
    assert_same(out, state)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    assert {".step", ".key", ".params['w']"} <= set(paths)


def test_is_frozen(state):
    with pytest.raises(AttributeError):
        state.step = 3


def test_keys_of_steps_shuffles_and_evaluations_are_distinct(state):
    def step_bits(step):
        state_then = TrainState(step, None, None, None, state.key, None)
        return jax.random.key_data(step_key(state_then))

    count = 2000
    steps = jax.vmap(step_bits)(jnp.arange(count))
    shuffles = jax.vmap(lambda i: jax.random.key_data(shuffle_key(state.key, i)))(jnp.arange(count))
    evaluations = jax.vmap(lambda i: jax.random.key_data(evaluation_key(state.key, i)))(
        jnp.arange(count)
    )
    given = np.asarray(jax.random.key_data(state.key))[None]
    everything = np.concatenate([steps, shuffles, evaluations, given])
    assert len(np.unique(everything, axis=0)) == 3 * count + 1


def test_keys_depend_on_the_run_key():
    for stream in (shuffle_key, evaluation_key):
        assert bits(stream(jax.random.key(0), 3)) != bits(stream(jax.random.key(1), 3))
        assert bits(stream(jax.random.key(0), 3)) == bits(stream(jax.random.key(0), 3))
        traced = jax.jit(stream)(jax.random.key(0), jnp.int32(3))
        assert bits(traced) == bits(stream(jax.random.key(0), 3))


def test_giving_keys_leaves_the_run_key_alone(state):
    before = bits(state.key)
    for _ in range(2):
        step_key(state), shuffle_key(state.key, 0), evaluation_key(state.key, 0)
    assert bits(state.key) == before
