"""Hamiltonian Monte Carlo on Gaussians whose moments are known."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax.evaluation.hmc import hmc, leapfrog, phase

SIGMA = np.array([[1.0, 0.6], [0.6, 0.8]])
PRECISION = jnp.float32(np.linalg.inv(SIGMA))
MEAN = jnp.array([[[1.0, -2.0]]])


def log_density(z):
    offset = z - MEAN
    return -0.5 * jnp.einsum("kbi,ij,kbj->kb", offset, PRECISION, offset)


def chains(count):
    z = np.random.default_rng(3).multivariate_normal([1.0, -2.0], SIGMA, count)
    return jnp.float32(z.reshape(-1, 2, 2))


@pytest.mark.parametrize("step_size", [0.2, 0.9])
def test_leapfrog_goes_back_where_it_came_from(step_size):
    z = chains(20)
    momentum = jnp.float32(np.random.default_rng(4).normal(size=z.shape))
    move = partial(leapfrog, log_density, step_size=jnp.full((1, 2), step_size), steps=7)
    start = phase(log_density, z, momentum)
    there = move(start)
    back = move(there._replace(momentum=-there.momentum))
    assert float(jnp.abs(there.z - z).mean()) > 0.3
    chex.assert_trees_all_close(back.z, z, atol=1e-4)
    chex.assert_trees_all_close(-back.momentum, momentum, atol=1e-4)


def test_leapfrog_errs_by_the_square_of_the_step():
    start = phase(log_density, chains(100), jnp.ones((50, 2, 2)))

    def error(step_size, steps):
        end = leapfrog(log_density, start, jnp.full((1, 1), step_size), steps)
        return float(jnp.abs(end.log_joint() - start.log_joint()).mean())

    assert 3.5 < error(0.2, 5) / error(0.1, 10) < 4.5


def test_hmc_leaves_a_gaussian_as_it_is():
    """At step sizes close to the stable limit, 1.08, where half of some moves is rejected."""
    z = chains(20_000)

    def move(z, key):
        moved = hmc(key, log_density, z, jnp.array([[1.0, 1.05]]), 4)
        return moved.z, jnp.mean(moved.acceptance, axis=0)

    keys = jax.random.split(jax.random.key(0), 5)
    end, acceptance = jax.jit(lambda z: jax.lax.scan(move, z, keys))(z)
    assert 0.3 < float(acceptance.min()) < float(acceptance.max()) < 0.98
    assert float((end != z).all(axis=-1).mean()) > 0.9
    for image in range(2):
        draws = np.asarray(end[:, image], np.float64)
        np.testing.assert_allclose(draws.mean(axis=0), [1.0, -2.0], atol=4 / np.sqrt(10_000))
        np.testing.assert_allclose(np.cov(draws.T), SIGMA, atol=6 / np.sqrt(10_000))
        for d, sigma in enumerate(np.sqrt(np.diag(SIGMA))):
            assert stats.kstest((draws[:, d] - [1.0, -2.0][d]) / sigma, "norm").pvalue > 1e-3


def test_chains_do_not_see_each_other():
    z, key = chains(20), jax.random.key(1)
    step_size = jnp.full((1, 2), 0.5)
    moved = hmc(key, log_density, z, step_size, 3)
    others = z.at[0, 0].add(100.0)
    again = hmc(jax.random.clone(key), log_density, others, step_size, 3)
    chex.assert_trees_all_equal(again.z[1:], moved.z[1:])
    chex.assert_trees_all_equal(again.z[0, 1], moved.z[0, 1])


def test_a_trajectory_that_diverges_is_rejected():
    z = chains(20)
    step_size = jnp.array([[1e20, 0.1]])
    moved = hmc(jax.random.key(2), log_density, z, step_size, 10)
    chex.assert_trees_all_equal(moved.z[:, 0], z[:, 0])
    np.testing.assert_array_equal(moved.acceptance[:, 0], 0)
    assert float(moved.acceptance[:, 1].min()) > 0.9
