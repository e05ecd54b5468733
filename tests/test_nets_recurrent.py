"""Recurrent nets against the recurrences in numpy, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import expit

from aejax.nets.recurrent import recurrent_pair


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def scattered(net, inputs):
    """Parameters of which none is zero, the biases neither."""
    shapes = jax.eval_shape(net.init, jax.random.key(0), inputs)["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda s: 0.4 * rng.normal(size=s.shape).astype(np.float32), shapes)


def lstm(p, x):
    """Hochreiter & Schmidhuber 1997 with forget gates, `[B, T, F]` -> all states `[B, T, W]`."""
    p = jax.tree.map(np.asarray, p)
    width = p["hi"]["kernel"].shape[0]
    c = h = np.zeros((len(x), width))
    states = []
    for row in np.moveaxis(x, 1, 0):
        i, f, g, o = (
            row @ p["i" + gate]["kernel"] + h @ p["h" + gate]["kernel"] + p["h" + gate]["bias"]
            for gate in "ifgo"
        )
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, axis=1)


def gru(p, x):
    """Cho et al. 2014, the reset gate after the product, `[B, T, F]` -> all states `[B, T, W]`."""
    p = jax.tree.map(np.asarray, p)
    h = np.zeros((len(x), p["hr"]["kernel"].shape[0]))
    states = []
    for row in np.moveaxis(x, 1, 0):
        r, z = (
            expit(
                row @ p["i" + gate]["kernel"] + p["i" + gate]["bias"] + h @ p["h" + gate]["kernel"]
            )
            for gate in "rz"
        )
        n = row @ p["in"]["kernel"] + p["in"]["bias"]
        n = np.tanh(n + r * (h @ p["hn"]["kernel"] + p["hn"]["bias"]))
        h = (1 - z) * n + z * h
        states.append(h)
    return np.stack(states, axis=1)


RECURRENCES = {"lstm": lstm, "gru": gru}
SHAPES = [(5, 3, 1), (4, 2, 3), (1, 3, 1), (6, 1, 1)]


@pytest.mark.parametrize("cell", RECURRENCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_encoder_is_the_recurrence(cell, shape):
    x = normal(2, *shape)
    encoder, _ = recurrent_pair(shape, cell, 4)
    params = scattered(encoder, x)
    expected = RECURRENCES[cell](params["cell"], x.reshape(2, shape[0], -1))[:, -1]
    outputs = jax.jit(encoder.apply)({"params": params}, x)
    assert outputs.shape == (2, 4)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", RECURRENCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_decoder_is_given_the_code_at_every_step(cell, shape):
    z = normal(2, 3)
    _, decoder = recurrent_pair(shape, cell, 4)
    params = scattered(decoder, z)
    states = RECURRENCES[cell](params["cell"], np.stack([z] * shape[0], axis=1))
    expected = states @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    outputs = jax.jit(decoder.apply)({"params": params}, z)
    np.testing.assert_allclose(outputs, expected.reshape(2, *shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", RECURRENCES)
def test_parameter_counts(cell):
    """Gates x (inputs + states + bias) x width; the GRU's candidate has a second bias."""
    shape, width, code = (7, 5, 1), 6, 3
    encoder, decoder = recurrent_pair(shape, cell, width)
    gates, extra = (4, 0) if cell == "lstm" else (3, width)
    for net, inputs, features, last in (
        (encoder, jnp.ones((1, *shape)), 5, 0),
        (decoder, jnp.ones((1, code)), code, (width + 1) * 5),
    ):
        params = jax.eval_shape(net.init, jax.random.key(0), inputs)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert count == gates * (features + width + 1) * width + extra + last


@pytest.mark.parametrize("cell", RECURRENCES)
def test_gradients_are_those_of_finite_differences(cell):
    x = normal(2, 3, 2, 1)
    encoder, decoder = recurrent_pair((3, 2, 1), cell, 2)
    params = scattered(encoder, x), scattered(decoder, normal(2, 2))

    @jax.jit
    def error(params):
        code = encoder.apply({"params": params[0]}, x)
        return jnp.sum((decoder.apply({"params": params[1]}, code) - x) ** 2)

    check_grads(error, (params,), order=1, modes=("rev",), eps=1e-2, rtol=2e-2, atol=2e-2)


def test_bad_cells_and_widths():
    with pytest.raises(ValueError, match="cell 'rnn' is unknown: give lstm or gru"):
        recurrent_pair((4, 4, 1), "rnn", 3)
    with pytest.raises(ValueError, match="width 0 is not positive"):
        recurrent_pair((4, 4, 1), "gru", 0)
