import jax
import numpy as np

from aejax.streams import OF_SEED, OF_STATE, seed_stream, state_stream


def words(key):
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def test_no_stream_of_a_seed_meets_another_or_a_step():
    # Among the first are fold_in(key(seed), 1), the state's key, and split of the seed's key.
    state = seed_stream(3, "state")
    found = [words(seed_stream(3, name)) for name in OF_SEED]
    found += [words(state_stream(state, name)) for name in OF_STATE]
    found += [words(part) for name in OF_SEED for part in jax.random.split(seed_stream(3, name), 9)]
    steps = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(state, np.arange(9, 5000))
    found += [tuple(row) for row in np.asarray(jax.random.key_data(steps)).tolist()]
    assert len(set(found)) == len(found)


def test_a_run_begins_with_the_keys_that_runs_have_always_begun_with():
    init_key, state_key = jax.random.split(jax.random.key(5))
    assert words(seed_stream(5, "parameters")) == words(init_key)
    assert words(seed_stream(5, "state")) == words(state_key)


def test_numbers_are_used_once():
    for table in (OF_SEED, OF_STATE):
        assert len(set(table.values())) == len(table)
        assert all(0 <= number < 2**32 for number in table.values())
