"""Importance sampling on a linear Gaussian model, against its exact log p(x)."""

import dataclasses
import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import LinearGaussian

from aejax import models, nets
from aejax.divergences import gaussian_kl_between
from aejax.evaluation.chunks import ChunkSizes, chunk_sizes, row_bytes, rows_within
from aejax.evaluation.importance import Running, importance_estimate, sample_bytes
from aejax.evaluation.mean import mean_and_error
from aejax.likelihoods import bernoulli


def estimate(linear, x, samples, memory=None, seed=0):
    function = partial(importance_estimate, linear.model, samples=samples, memory=memory)
    return jax.jit(function)(linear.variables, {"x": x}, jax.random.key(seed))


def test_the_exact_posterior_needs_one_sample():
    linear = LinearGaussian()
    x = linear.data(50)
    found = estimate(linear, x, samples=1)
    np.testing.assert_allclose(found.log_likelihood, linear.log_marginal(x), atol=1e-4)
    np.testing.assert_allclose(found.elbo, linear.log_marginal(x), atol=1e-4)


def test_the_bound_rises_with_the_samples_and_closes_on_log_p():
    linear = LinearGaussian(inflation=1.6)
    x = linear.data(500)
    exact = linear.log_marginal(x)
    errors = [estimate(linear, x, k, seed=k).log_likelihood - exact for k in (1, 8, 512)]
    for fewer, more in itertools.pairwise(errors):
        rise = mean_and_error(more - fewer)
        assert rise.mean > -3 * rise.error
    assert mean_and_error(errors[0]).mean < -0.3
    last = mean_and_error(errors[-1])
    assert abs(last.mean) < 1e-3 + 4 * last.error


def test_the_elbo_is_log_p_less_the_kl():
    linear = LinearGaussian(inflation=1.6)
    x = linear.data(500)
    q, posterior = linear.encode(linear.params, x), LinearGaussian().encode(linear.params, x)
    gap = estimate(linear, x, samples=64).elbo - linear.log_marginal(x)
    found = mean_and_error(gap + gaussian_kl_between(*q, *posterior))
    assert abs(found.mean) < 4 * found.error


def test_a_flax_vae_is_estimated_as_its_plain_functions_are():
    model = models.vae(*nets.mlp_pair((4, 4, 1), (6,)), 2, bernoulli())
    batch = {"x": jnp.asarray(np.random.default_rng(0).uniform(size=(3, 4, 4, 1)), jnp.float32)}
    variables = model.init(jax.random.key(0), batch)
    found, expected = (
        jax.jit(partial(importance_estimate, m, samples=5))(variables, batch, jax.random.key(1))
        for m in (model, dataclasses.replace(model, module=None))
    )
    chex.assert_shape(list(found), (3,))
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_chunks_do_not_change_the_estimates():
    """7 images and 10 samples, which no chunk divides."""
    linear = LinearGaussian(inflation=1.6)
    x = linear.data(7)
    whole = estimate(linear, x, samples=10, memory=1e9)
    one_row = sample_bytes(linear.model, linear.variables, {"x": x})
    for rows in (3, 23):
        chex.assert_trees_all_close(estimate(linear, x, 10, rows * one_row), whole, rtol=1e-5)


def test_more_samples_add_to_the_fewer():
    """Of two samples and of three: the third weight makes up the difference."""
    linear = LinearGaussian(inflation=1.6)
    x = linear.data(4)
    two, three = (np.asarray(estimate(linear, x, k).elbo, np.float64) for k in (2, 3))
    weights = [np.asarray(estimate(linear, x, k).log_likelihood, np.float64) for k in (2, 3)]
    third = 3 * three - 2 * two
    np.testing.assert_allclose(
        3 * np.exp(weights[1]) - 2 * np.exp(weights[0]), np.exp(third), rtol=1e-2
    )


def test_images_are_drawn_apart():
    linear = LinearGaussian(inflation=1.6)
    x = jnp.tile(linear.data(1), (3, 1))
    assert len(set(np.asarray(estimate(linear, x, samples=2).elbo).tolist())) == 3


class Sorted(LinearGaussian):
    def decode(self, params, z):
        return jnp.sort(super().decode(params, z), axis=-1)


@pytest.mark.parametrize("memory", [2e6, 2e7])
def test_the_compiled_program_keeps_to_the_memory(memory):
    """With sorted outputs, which XLA's CPU backend cannot fuse away."""
    linear = Sorted(latent=10, observed=1000)
    function = partial(importance_estimate, linear.model, samples=100_000, memory=memory)
    key, batch = jax.random.key(0), {"x": linear.data(2)}
    compiled = jax.jit(function).lower(linear.variables, batch, key).compile()
    numbers = 4 * 100_000  # the samples', beside the chunk
    used = compiled.memory_analysis().temp_size_in_bytes - numbers
    assert memory / 20 < used < memory


def test_weights_may_differ_by_any_factor():
    """As zero weights and weights beyond float32 do, in chunks of their own."""
    running = Running.of_none(jax.ShapeDtypeStruct((3,), jnp.float32))
    chunks = [[[-jnp.inf, -1e4, 5.0]], [[-jnp.inf, 300.0, 5.0]], [[-jnp.inf, 1e4, jnp.nan]]]
    for chunk, counted in zip(chunks, (True, True, False), strict=True):
        running = running.add(jnp.array(chunk), jnp.array([counted]))
    found = running.greatest + jnp.log(running.scaled_sum)
    np.testing.assert_allclose(found, [-np.inf, 300.0, 5 + np.log(2)], rtol=1e-6)


def test_nothing_to_estimate_from_raises():
    linear = LinearGaussian()
    with pytest.raises(ValueError, match="samples 0: each must be positive"):
        estimate(linear, linear.data(2), samples=0)
    with pytest.raises(ValueError, match="memory 8 holds no row of .* bytes: give at least that"):
        estimate(linear, linear.data(2), samples=3, memory=8)


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, (1, 1)), (4, (1, 4)), (9, (1, 5)), (10, (1, 10)), (35, (3, 10))]
)
def test_chunks_are_even_and_within_the_rows(rows, expected):
    assert chunk_sizes(rows, images=7, samples=10) == ChunkSizes(*expected)
    assert np.prod(expected) <= rows


def test_row_bytes_count_what_grows_with_the_rows():
    weights = jnp.ones((3, 10))
    assert row_bytes(lambda n: jnp.tanh(jnp.ones((n, 3)) @ (2 * weights))) == 4 * (3 + 10 + 10)
    assert rows_within(100, 33) == 3


def test_mean_and_error_equal_scipy():
    from scipy import stats

    values = np.float32(np.random.default_rng(0).normal(-90, 5, 10_000))
    found = mean_and_error(values)
    np.testing.assert_allclose(found.mean, np.float64(values).mean(), rtol=1e-12)
    np.testing.assert_allclose(found.error, stats.sem(np.float64(values)), rtol=1e-9)
    with pytest.raises(ValueError, match=r"values \(1,\) is not \[N\] with N at least 2"):
        mean_and_error([1.0])
