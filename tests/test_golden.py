"""Ten steps of one model, pinned to recorded numbers."""

import jax
import numpy as np
import optax

from aejax import likelihoods, models, nets
from aejax.objectives import Elbo, make_loss
from aejax.training.state import TrainState
from aejax.training.step import make_train_step

LOSSES = [
    45.298,
    45.31453,
    45.33488,
    44.99369,
    44.96227,
    44.80067,
    44.72303,
    44.92294,
    44.84538,
    44.71865,
]

ADVICE = (
    "the losses of ten steps have changed: if a formula, an initialisation, a key or the optimiser "
    "was meant to change, say so in the commit, rerun what the README shows of it, and record the "
    "new numbers here; if not, the change is a bug"
)


def losses():
    x = np.random.default_rng(0).random((16, 8, 8, 1), np.float32)
    encoder, decoder = nets.mlp_pair((8, 8, 1), (32,))
    model = models.vae(encoder, decoder, 2, likelihoods.bernoulli())
    params = model.init(jax.random.key(1), {"x": x})["params"]
    optimizer = optax.adam(1e-3)
    step = jax.jit(make_train_step(make_loss(model, Elbo()), optimizer))
    state, found = TrainState.create(params, optimizer, jax.random.key(2)), []
    for _ in range(10):
        state, metrics = step(state, {"x": x})
        found.append(float(metrics["loss"]))
    return found


def test_ten_steps_are_as_they_were():
    np.testing.assert_allclose(losses(), LOSSES, rtol=1e-5, err_msg=ADVICE)
