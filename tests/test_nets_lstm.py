"""The LSTM whose input products are hoisted, against Flax's cell step by step."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.nets.lstm import LSTM, zero_state

WIDTH, ROWS, STEPS = 5, 3, 7
GATES = "ifgo"


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def as_flax(params):
    """The parameters as Flax's cell names them."""
    inputs, recurrent = params["inputs"]["kernel"], params["recurrent"]["kernel"]
    biases = jnp.split(params["bias"], 4)
    found = {}
    for g, a, b, bias in zip(GATES, jnp.split(inputs, 4, 1), jnp.split(recurrent, 4, 1), biases,
                             strict=True):  # fmt: skip
        found["i" + g], found["h" + g] = {"kernel": a}, {"kernel": b, "bias": bias}
    return {"params": found}


def scattered(net, *inputs):
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)["params"]
    return jax.tree.map(lambda s: 0.4 * normal(*s.shape), shapes)


def by_flax(params, x, state, reverse):
    """Time first -> the last state and all outputs, one step of Flax's cell after the other."""
    cell, outputs = nn.OptimizedLSTMCell(WIDTH), [None] * STEPS
    for t in reversed(range(STEPS)) if reverse else range(STEPS):
        state, outputs[t] = cell.apply(as_flax(params), state, x[t])
    return state, jnp.stack(outputs)


@pytest.mark.parametrize("reverse", [False, True])
def test_it_is_flaxs_cell_with_its_gradients(reverse):
    timed, constant = normal(STEPS, ROWS, 4), normal(ROWS, 2)
    state = normal(ROWS, WIDTH), normal(ROWS + 1, WIDTH)[:ROWS]
    joined = np.concatenate([np.broadcast_to(constant, (STEPS, ROWS, 2)), timed], axis=-1)
    net = LSTM(WIDTH)
    params = scattered(net, [constant, timed], state)

    def ours(params, state):
        last, outputs = net.apply({"params": params}, [constant, timed], state, reverse)
        return jnp.sum(outputs**2) + jnp.sum(last[0] * last[1]), (last, outputs)

    def flaxs(params, state):
        last, outputs = by_flax(params, joined, state, reverse)
        return jnp.sum(outputs**2) + jnp.sum(last[0] * last[1]), (last, outputs)

    (_, found), gradient = jax.jit(jax.value_and_grad(ours, (0, 1), has_aux=True))(params, state)
    (_, expected), expected_gradient = jax.value_and_grad(flaxs, (0, 1), has_aux=True)(
        params, state
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                 found, expected)  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
                 gradient, expected_gradient)  # fmt: skip


def test_only_the_recurrence_is_multiplied_in_the_loops():
    """One product a step forward and one backward; those with inputs and of kernels are outside."""
    net, state, x = LSTM(WIDTH), zero_state(ROWS, WIDTH), normal(STEPS, ROWS, 4)
    params = scattered(net, [x], state)

    def loss(params):
        return jnp.sum(net.apply({"params": params}, [x], state)[1])

    jaxpr = jax.make_jaxpr(jax.grad(loss))(params)
    loops = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    products = [
        [e.invars[0].aval.shape for e in loop.params["jaxpr"].eqns if "dot" in e.primitive.name]
        for loop in loops
    ]
    assert products == [[(ROWS, WIDTH)], [(ROWS, 4 * WIDTH)]]


def test_it_begins_as_flaxs_cell_but_for_an_open_forget_gate():
    width = 64
    net, x = LSTM(width), [np.zeros((1, 1, 30), np.float32)]
    params = net.init(jax.random.key(3), x, zero_state(1, width))["params"]
    np.testing.assert_array_equal(params["bias"], np.repeat([0, 1, 0, 0], width))
    for square in np.split(np.asarray(params["recurrent"]["kernel"]), 4, axis=1):
        np.testing.assert_allclose(square.T @ square, np.eye(width), atol=1e-5)
    assert np.std(params["inputs"]["kernel"]) == pytest.approx(30**-0.5, rel=0.05)
