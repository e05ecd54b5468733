"""How far members are from the runs alone after an epoch, by what they differ in, as JSON.

A script of its own: the tests' own flags leave out the compiler's passes that fold constants.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aejax import likelihoods, models, nets
from aejax.data.dataset import Dataset
from aejax.objectives import Elbo, make_loss
from aejax.settings import with_values
from aejax.training.fit import fit
from aejax.training.members import stack_states
from aejax.training.population import fit_population
from aejax.training.state import TrainState

SHAPE = (12, 12, 1)
USUAL = {"rate": 1e-3, "beta": 1.0, "decay": 0.01, "sigma": 0.2}
SWEPT = {
    "seeds alone": {},
    "rate": {"rate": [7e-4, 3e-3]},
    "others": {"beta": [0.3, 2.7], "decay": [0.013, 0.37], "sigma": [0.13, 0.37]},
}


def model(own):
    return models.vae(*nets.mlp_pair(SHAPE, (64,)), 4, likelihoods.gaussian(own["sigma"]))


def member(own):
    own = USUAL | own
    decay = optax.add_decayed_weights(-own["rate"] * own["decay"])
    loss_fn = make_loss(model(own), with_values(Elbo(), beta=own["beta"]))
    return loss_fn, optax.chain(optax.adam(own["rate"]), decay)


def states():
    optimizer = member({})[1]
    for seed in range(2):
        init_key, key = jax.random.split(jax.random.key(seed))
        params = model(USUAL).init(init_key, {"x": jnp.zeros((1, *SHAPE))})["params"]
        yield TrainState.create(params, optimizer, key)


def furthest(swept, data):
    """The largest difference of any parameter of any member."""
    own = {name: jnp.array(values) for name, values in swept.items()}
    settings = {"epochs": 1, "batch_size": 50}
    population = fit_population(
        stack_states(list(states())), member, data, hyperparameters=own, **settings
    )
    found = 0.0
    for i, state in enumerate(states()):
        loss_fn, optimizer = member({name: values[i] for name, values in swept.items()})
        alone, _ = fit(state, loss_fn, optimizer, data, **settings)
        pairs = zip(
            jax.tree.leaves(population.states.params), jax.tree.leaves(alone.params), strict=True
        )
        found = max(
            found, *(float(np.abs(np.asarray(a[i]) - np.asarray(b)).max()) for a, b in pairs)
        )
    return found


if __name__ == "__main__":
    pixels = np.random.default_rng(0).integers(0, 256, (2000, *SHAPE), dtype=np.uint8)
    noise = Dataset({"x": pixels, "label": np.zeros(2000, np.int32)})
    print(json.dumps({name: furthest(swept, noise) for name, swept in SWEPT.items()}))
