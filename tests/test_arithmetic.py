"""What the installed JAX computes on this platform, against NumPy in float64.

jax 0.10.2 was silently wrong on CPU (jax-ml/jax#39103) in products that are mapped over more than
32,768 rows and then reduced. Such a release is to fail here, and not in somebody's results.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROWS = sorted({2**n + off for n in (14, 15, 16, 17) for off in (-1, 0, 1)} | {40_000, 100_003})
W = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
W64 = W.astype(np.float64)


def rows_of_3(count):
    x = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    return x, x.astype(np.float64)


@pytest.mark.parametrize("rows", ROWS)
def test_a_product_of_each_row_is_reduced_rightly(rows):
    x, x64 = rows_of_3(rows)

    def energy(row):
        return jnp.sum((W @ row) ** 2)

    energies, gradients = jax.jit(jax.vmap(jax.value_and_grad(energy)))(x)
    alone = jax.jit(jax.vmap(energy))(x)
    product = x64 @ W64.T
    expected = np.sum(product**2, axis=-1)
    np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(energies, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradients, 2 * product @ W64, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", ROWS)
def test_all_rows_are_multiplied_and_added_up_rightly(rows):
    x, x64 = rows_of_3(rows)

    @jax.jit
    def sums(x):
        return x.T @ x, jnp.sum(jnp.tanh(x @ W.T) ** 2, axis=-1)

    squares, activity = sums(x)
    np.testing.assert_allclose(squares, x64.T @ x64, rtol=1e-4, atol=1e-3 * rows**0.5)
    expected = np.sum(np.tanh(x64 @ W64.T) ** 2, axis=-1)
    np.testing.assert_allclose(activity, expected, rtol=1e-5, atol=1e-6)
