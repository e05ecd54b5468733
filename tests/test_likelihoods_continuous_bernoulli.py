"""The continuous Bernoulli against scipy's truncated exponential, near logit 0 and far from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, stats

from aejax import likelihoods
from aejax.likelihoods import bernoulli_log_prob, continuous_bernoulli_log_prob

LOGITS = [-40.0, -3.0, -0.5001, -0.4999, -1e-3, -1e-9, 0.0, 1e-4, 0.3, 0.5, 8.0, 40.0]


def truncated_exponential(logit):
    """x of a negative logit, or 1 - x of a positive one; the uniform near 0."""
    rate = abs(logit)
    return stats.truncexpon(rate, scale=1 / rate) if rate > 1e-6 else stats.uniform()


def density(x, logit):
    x = 1 - x if logit > 0 else x
    return truncated_exponential(logit).logpdf(x)


def of_one(logit, x):
    return continuous_bernoulli_log_prob(jnp.reshape(logit, (1, 1)), jnp.reshape(x, (1, 1)))[0]


@pytest.mark.parametrize("logit", LOGITS)
def test_equals_scipy(logit):
    x = np.linspace(0, 1, 21)
    got = continuous_bernoulli_log_prob(jnp.full((21, 1), logit), jnp.asarray(x)[:, None])
    np.testing.assert_allclose(got, density(x, logit), rtol=2e-6, atol=2e-6)


def test_pixels_are_summed():
    logits = np.array(LOGITS).reshape(2, 3, 2, 1)
    x = np.random.default_rng(0).uniform(size=logits.shape)
    expected = np.vectorize(density)(x, logits).reshape(2, -1).sum(axis=1)
    got = continuous_bernoulli_log_prob(jnp.asarray(logits), jnp.asarray(x))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("logit", LOGITS)
def test_density_integrates_to_one_and_has_the_mean(logit):
    with jax.enable_x64(True):
        log_density = jax.jit(lambda x: of_one(jnp.float64(logit), x))
        total, _ = integrate.quad(lambda x: np.exp(log_density(x)), 0, 1, limit=200)
        first, _ = integrate.quad(lambda x: x * np.exp(log_density(x)), 0, 1, limit=200)
        mean = likelihoods.continuous_bernoulli().mean(jnp.full((1, 1), logit, float)).item()
    np.testing.assert_allclose(total, 1, rtol=1e-9)
    np.testing.assert_allclose(mean, first, rtol=1e-8)


def test_normaliser_is_the_papers():
    logits, x = jnp.array([[-6.0, -0.3, 0.2, 5.0]]), jnp.array([[0.1, 0.8, 1.0, 0.4]])
    odd = 1 - 2 / (1 + np.exp(-np.asarray(logits, np.float64)))
    log_c = np.log(2 * np.arctanh(odd) / odd).sum()
    expected = bernoulli_log_prob(logits, x) + log_c
    np.testing.assert_allclose(continuous_bernoulli_log_prob(logits, x), expected, rtol=1e-5)


@pytest.mark.parametrize("x", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_is_exact_at_extreme_logits(logit, x):
    value, slope = jax.value_and_grad(of_one)(jnp.float32(logit), x)
    # log(1e4) where x is where the mass is; the mean is 1e-4 from there.
    away = x if logit < 0 else 1 - x
    np.testing.assert_allclose(value, np.log(1e4) - 1e4 * away, rtol=1e-6)
    np.testing.assert_allclose(slope, np.sign(logit) * (1e-4 - away), rtol=1e-5)


@pytest.mark.parametrize("logit", [0.0, -0.0, 1e-30, 1e-4, -0.01])
def test_derivatives_near_logit_zero_in_float32(logit):
    slope = jax.grad(of_one)(jnp.float32(logit), 0.3)
    curvature = jax.grad(jax.grad(of_one))(jnp.float32(logit), 0.3)
    np.testing.assert_allclose(slope, 0.3 - 0.5 - logit / 12, rtol=1e-6)
    np.testing.assert_allclose(curvature, -1 / 12, rtol=1e-4)  # the uniform's variance


def test_check_grads():
    with jax.enable_x64(True):
        logits = jnp.array(LOGITS).reshape(4, 3)
        args = (logits, jnp.full((4, 3), 0.3))
        check_grads(jax.jit(continuous_bernoulli_log_prob), args, 2, modes=("rev",))


@pytest.mark.parametrize("logit", [-1e4, *LOGITS, 1e4])
def test_samples_follow_the_distribution(logit):
    outputs = jnp.full((20_000, 1), logit)
    x = likelihoods.continuous_bernoulli().sample(jax.random.key(0), outputs)
    x = np.asarray(x, np.float64).ravel()
    assert x.min() >= 0
    assert x.max() <= 1
    cdf = truncated_exponential(logit).cdf
    assert stats.kstest(1 - x if logit > 0 else x, cdf).pvalue > 0.01


def test_samples_move_smoothly_with_the_logit():
    likelihood = likelihoods.continuous_bernoulli()
    logits = jnp.array([[-0.0011, -0.0009, 0.0, 0.0009, 0.0011, 1e4]])
    slope = jax.grad(lambda logits: likelihood.sample(jax.random.key(0), logits).sum())(logits)
    u = jax.random.uniform(jax.random.key(0), logits.shape)
    np.testing.assert_allclose(slope[:, :3], (u * (1 - u) / 2)[:, :3], atol=3e-4)
    assert jnp.isfinite(slope).all()
