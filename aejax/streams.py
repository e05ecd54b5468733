"""The random streams of a seed and of a training state, by name: all keys come from these tables.

A stream is one `fold_in` of a key by its own number, so no two streams of a key ever meet. The key
itself is never drawn from, and never split: `split(key, n)[i]` is `fold_in(key, i)`, and would
meet the streams of small numbers.
"""

import jax
import numpy as np

from aejax.errors import UsageError

# Of a seed's key. The first two are what `split(key)` gives.
OF_SEED = {
    "parameters": 0,  # the initial parameters
    "state": 1,  # the training state's key, whose own streams are below
    "evaluation": 2**32 - 3,  # what `evaluate` draws
    "pictures": 2**32 - 4,  # what a figure shows
    "results": 2**32 - 5,  # what a run measures at its end
    "samples": 2**32 - 6,  # what `sample` draws
    "beside": 2**32 - 7,  # a model that is trained only to be compared with the run's
    "classifier": 2**32 - 9,  # the classifier that judges images
    "data": 2**32 - 8,  # what is drawn once of a data set: noise, zeros and ones, pairs
}
# Of a state's key, whose streams of smaller numbers are the steps' own.
OF_STATE = {"shuffle": 2**32 - 1, "evaluation": 2**32 - 2}


def seed_stream(seed: int, name: str) -> jax.Array:
    """The key of a seed's stream, a name of `OF_SEED`; split it as you like, or use it once.

    Raises:
        UsageError: for a seed that no key can be made of.
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed} is not within 0 and 2^32 - 1")
    return jax.random.fold_in(jax.random.key(seed), np.uint32(OF_SEED[name]))


def state_stream(key: jax.Array, name: str) -> jax.Array:
    """The key of a stream of a state's key, a name of `OF_STATE`."""
    return jax.random.fold_in(key, np.uint32(OF_STATE[name]))
