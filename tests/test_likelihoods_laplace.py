"""The Laplace log-probability against scipy, and its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, stats

from aejax import likelihoods
from aejax.likelihoods import laplace_log_prob

SHAPE = (4, 3, 2, 1)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    mean, log_sigma = 2 * rng.normal(size=SHAPE), 0.5 * rng.normal(size=SHAPE)
    return mean, log_sigma, rng.uniform(size=SHAPE)


@pytest.mark.parametrize("scale", ["fixed", "scalar", "per_pixel"])
def test_equals_scipy_by_the_standard_deviation(arrays, scale):
    mean, log_sigma, x = arrays
    log_sigma = log_sigma if scale == "per_pixel" else np.log(0.3)
    of_scipy = stats.laplace(mean, np.exp(log_sigma) / np.sqrt(2))
    np.testing.assert_allclose(of_scipy.std(), np.broadcast_to(np.exp(log_sigma), SHAPE))
    expected = of_scipy.logpdf(x).reshape(4, -1).sum(axis=1)
    if scale == "fixed":
        got = likelihoods.laplace(0.3).log_prob(jnp.asarray(mean), jnp.asarray(x))
    else:
        got = laplace_log_prob(*map(jnp.asarray, (mean, log_sigma, x)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_density_integrates_to_one():
    with jax.enable_x64(True):
        density = jax.jit(
            lambda x: jnp.exp(laplace_log_prob(jnp.full((1, 1), 0.4), -1.0, x.reshape(1, 1)))[0]
        )
        total, _ = integrate.quad(lambda x: density(jnp.float64(x)), -15, 15, points=[0.4])
    np.testing.assert_allclose(total, 1, rtol=1e-8)


def test_gradients(arrays):
    x = jnp.full((1, 3), 0.4)
    slope = jax.grad(lambda m: laplace_log_prob(m, 0.0, x)[0])(jnp.array([[0.1, 0.4, 1e4]]))
    np.testing.assert_allclose(slope, np.sqrt(2) * np.array([[1, 0, -1]]), rtol=1e-6)
    with jax.enable_x64(True):
        args = tuple(map(jnp.asarray, arrays))
        check_grads(jax.jit(laplace_log_prob), args, 2, modes=("rev",))


def test_wrong_arguments_raise():
    x, other = jnp.zeros(SHAPE), jnp.zeros((4, 6))
    with pytest.raises(ValueError, match=r"mean \(4, 6\) and x \(4, 3, 2, 1\)"):
        laplace_log_prob(other, 0.0, x)
    with pytest.raises(ValueError, match=r"log_sigma \(4, 6\) and x \(4, 3, 2, 1\)"):
        laplace_log_prob(x, other, x)
    with pytest.raises(ValueError, match="sigma 0 is not positive"):
        likelihoods.laplace(0)


def test_samples_follow_the_distribution():
    likelihood = likelihoods.laplace(0.3)
    mean = jnp.tile(jnp.array([[0.1, 0.8]]), (20_000, 1))
    np.testing.assert_array_equal(likelihood.mean(mean), mean)
    x = np.asarray(likelihood.sample(jax.random.key(0), mean))
    for i, m in enumerate((0.1, 0.8)):
        assert stats.kstest(x[:, i], stats.laplace(m, 0.3 / np.sqrt(2)).cdf).pvalue > 0.01
