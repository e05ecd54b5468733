"""Softplus against float64, at the ends, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from aejax.likelihoods.softplus import softplus

X = np.array([-1e4, -80, -30, -1, -1e-3, 0, 1e-3, 1, 30, 100, 1e4], np.float32)


def test_values_equal_float64():
    np.testing.assert_allclose(softplus(X), np.logaddexp(np.float64(X), 0), rtol=2e-6)


def test_the_ends():
    found = softplus(jnp.array([-jnp.inf, jnp.inf, jnp.nan]))
    np.testing.assert_array_equal(found, [0, np.inf, np.nan])


def test_derivatives_are_the_sigmoids_at_the_kink_too():
    first = jax.vmap(jax.grad(softplus))(X)
    np.testing.assert_allclose(first, jax.nn.sigmoid(X), rtol=1e-6)
    assert jax.grad(jax.grad(softplus))(0.0) == 0.25


@pytest.mark.parametrize("x", [-3.0, 0.0, 0.5])
def test_check_grads(x):
    with jax.enable_x64(True):
        check_grads(softplus, [jnp.float64(x)], 3, modes=("fwd", "rev"))
