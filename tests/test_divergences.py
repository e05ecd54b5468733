"""KL against quadrature, Monte Carlo and identities; MMD against closed forms and double loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, spatial, stats

from aejax.divergences import (
    gaussian_kl,
    gaussian_kl_between,
    inverse_multiquadric,
    median_distance,
    rbf,
    squared_mmd,
)


@pytest.fixture
def four():
    rng = np.random.default_rng(0)
    return [scale * rng.normal(size=(6, 3)) for scale in (1.0, 0.4, 1.0, 0.4)]


def quadrature(mean, sigma, prior_mean=0.0, prior_sigma=1.0):
    q, p = stats.norm(mean, sigma), stats.norm(prior_mean, prior_sigma)

    def integrand(z):
        return q.pdf(z) * (q.logpdf(z) - p.logpdf(z))

    limits = mean - 12 * sigma, mean + 12 * sigma
    return integrate.quad(integrand, *limits, epsabs=1e-12, limit=200)[0]


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 0.5), (1.5, 1.0), (-2.0, 3.0), (0.1, 0.02)])
def test_kl_to_the_prior_equals_quadrature(mean, sigma):
    got = gaussian_kl(jnp.array([[mean]]), jnp.log(jnp.array([[sigma]])))
    np.testing.assert_allclose(got, [quadrature(mean, sigma)], rtol=1e-5)


@pytest.mark.parametrize("q", [(0.0, 0.5), (1.5, 2.0)])
@pytest.mark.parametrize("p", [(0.0, 1.0), (-1.0, 0.4), (2.0, 3.0)])
def test_kl_between_equals_quadrature(q, p):
    as_row = [jnp.array([[a]]) for a in (q[0], np.log(q[1]), p[0], np.log(p[1]))]
    np.testing.assert_allclose(gaussian_kl_between(*as_row), [quadrature(*q, *p)], rtol=1e-5)


def test_kl_sums_over_the_last_axis_only(four):
    mean, log_sigma = map(jnp.asarray, four[:2])
    total = gaussian_kl(mean, log_sigma)
    chex.assert_shape(total, (6,))
    parts = sum(gaussian_kl(mean[:, d : d + 1], log_sigma[:, d : d + 1]) for d in range(3))
    chex.assert_trees_all_close(total, parts, rtol=1e-5)


def test_kl_equals_monte_carlo(four):
    """Within four standard errors of the mean of log q(z) - log p(z) over draws of q."""
    mean, sigma = four[0], np.exp(four[1])
    z = mean + sigma * np.random.default_rng(1).normal(size=(50_000, 6, 3))
    ratio = (stats.norm.logpdf(z, mean, sigma) - stats.norm.logpdf(z)).sum(-1)
    error = ratio.std(0) / np.sqrt(len(ratio))
    got = np.asarray(gaussian_kl(jnp.asarray(mean), jnp.asarray(four[1])))
    assert np.all(np.abs(got - ratio.mean(0)) < 4 * error)


def test_kl_of_equal_distributions_is_zero(four):
    mean, log_sigma = map(jnp.asarray, four[:2])
    zeros = gaussian_kl_between(mean, log_sigma, mean, log_sigma)
    chex.assert_trees_all_equal(zeros, jnp.zeros(6))
    chex.assert_trees_all_equal(gaussian_kl(jnp.zeros((2, 3)), jnp.zeros((2, 3))), jnp.zeros(2))


def test_kl_between_contains_kl_to_the_prior(four):
    mean, log_sigma = map(jnp.asarray, four[:2])
    zeros = jnp.zeros((6, 3))
    got = gaussian_kl_between(mean, log_sigma, zeros, zeros)
    chex.assert_trees_all_close(got, gaussian_kl(mean, log_sigma), rtol=1e-6)


def test_kl_between_is_invariant_to_shift_and_scale(four):
    mean, log_sigma, prior_mean, prior_log_sigma = map(jnp.asarray, four)
    moved = gaussian_kl_between(
        3 * mean + 1, log_sigma + jnp.log(3), 3 * prior_mean + 1, prior_log_sigma + jnp.log(3)
    )
    chex.assert_trees_all_close(moved, gaussian_kl_between(*map(jnp.asarray, four)), rtol=1e-4)


def test_kl_is_positive_and_not_symmetric(four):
    mean, log_sigma, prior_mean, prior_log_sigma = map(jnp.asarray, four)
    forward = gaussian_kl_between(mean, log_sigma, prior_mean, prior_log_sigma)
    backward = gaussian_kl_between(prior_mean, prior_log_sigma, mean, log_sigma)
    chex.assert_shape(forward, (6,))
    assert jnp.all(forward > 0)
    assert jnp.all(jnp.abs(forward - backward) > 1e-3)


@pytest.mark.parametrize("log_sigma", [1e-4, -1e-4, 1e-3])
def test_the_kl_of_a_nearly_collapsed_posterior_keeps_its_digits(log_sigma):
    """KL = s^2 + O(s^3), far below the rounding of numbers near 1."""
    got = gaussian_kl(jnp.zeros((1, 1)), jnp.full((1, 1), log_sigma))
    np.testing.assert_allclose(got, [log_sigma**2], rtol=2e-2)


@pytest.mark.parametrize("log_sigma", [-40.0, 40.0])
def test_extreme_scales_are_finite(log_sigma):
    def kl(s):
        return gaussian_kl(jnp.full((1, 2), 30.0), s)[0]

    s = jnp.full((1, 2), log_sigma)
    chex.assert_tree_all_finite(jax.value_and_grad(kl)(s))
    np.testing.assert_allclose(kl(s), np.expm1(2 * log_sigma) + 900 - 2 * log_sigma, rtol=1e-5)


def test_check_grads(four):
    with jax.enable_x64(True):
        args = [jnp.asarray(a) for a in four]
        check_grads(jax.jit(gaussian_kl), args[:2], 2, modes=("fwd", "rev"))
        check_grads(jax.jit(gaussian_kl_between), args, 2, modes=("fwd", "rev"))


@pytest.mark.parametrize(("f", "count"), [(gaussian_kl, 2), (gaussian_kl_between, 4)])
def test_jit_and_vmap_change_nothing(four, f, count):
    args = [jnp.asarray(a) for a in four[:count]]
    expected = f(*args)
    chex.assert_shape(expected, (6,))
    chex.assert_trees_all_close(jax.jit(f)(*args), expected, rtol=1e-5)
    chex.assert_trees_all_close(jax.vmap(f)(*args), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (3,), (6, 1)])
def test_differing_shapes_raise(shape):
    full, other = jnp.zeros((6, 3)), jnp.zeros(shape)
    with pytest.raises(ValueError, match=r"mean \(6, 3\) and log_sigma"):
        gaussian_kl(full, other)
    with pytest.raises(ValueError, match=r"four parameters have shapes .*\(6, 3\)"):
        gaussian_kl_between(full, full, full, other)


@pytest.fixture
def samples():
    rng = np.random.default_rng(2)
    return rng.normal(size=(7, 3)), 1 + 0.5 * rng.normal(size=(5, 3))


KERNELS = {
    "rbf": (rbf(1.3), lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * 1.3**2))),
    "imq": (inverse_multiquadric(2.5), lambda a, b: 2.5 / (2.5 + np.sum((a - b) ** 2))),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_equals_a_double_loop(samples, kernel):
    x, y = samples
    ours, k = KERNELS[kernel]
    pairs = [
        np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
        for s in (x, y)
    ]
    expected = sum(pairs) - 2 * np.mean([k(a, b) for a in x for b in y])
    got = squared_mmd(jnp.asarray(x), jnp.asarray(y), ours)
    chex.assert_shape(got, ())
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def expected_rbf(mean, variance, bandwidth):
    """E exp(-|d|^2 / (2 bandwidth^2)), d ~ N(mean, variance): a factor a dimension."""
    total = bandwidth**2 + variance
    return np.prod(np.sqrt(bandwidth**2 / total) * np.exp(-(mean**2) / (2 * total)))


@pytest.mark.parametrize("sigma", [1.0, 0.6])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_mmd_of_two_gaussians_is_its_closed_form_on_average(sigma, shift):
    """Ten rows a sample, where the biased estimate is off by a tenth; four standard errors."""
    bandwidth, times, ones = 1.5, 4000, np.ones(2)
    expected = (
        expected_rbf(0 * ones, 2 * ones, bandwidth)
        + expected_rbf(0 * ones, 2 * sigma**2 * ones, bandwidth)
        - 2 * expected_rbf(shift * ones, (1 + sigma**2) * ones, bandwidth)
    )
    x, y = np.random.default_rng(5).normal(size=(2, times, 10, 2)).astype(np.float32)
    mmd = jax.jit(jax.vmap(lambda x, y: squared_mmd(x, y, rbf(bandwidth))))
    found = np.asarray(mmd(x, np.float32(shift + sigma * y)))
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(times)
    assert (found.min() < 0) or expected > 0.1


def test_mmd_far_from_the_origin_keeps_its_digits(samples):
    x, y = (np.float32(s) for s in samples)
    near = squared_mmd(jnp.asarray(x), jnp.asarray(y), rbf(1.0))
    far = squared_mmd(jnp.asarray(x + 1000), jnp.asarray(y + 1000), rbf(1.0))
    np.testing.assert_allclose(far, near, atol=1e-3)


def test_median_distance_equals_scipy(samples):
    expected = np.median(spatial.distance.pdist(np.concatenate(samples)))
    np.testing.assert_allclose(median_distance(*map(jnp.asarray, samples)), expected, rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_check_grads(samples, kernel):
    with jax.enable_x64(True):
        args = [jnp.asarray(a) for a in samples]
        check_grads(
            jax.jit(lambda x, y: squared_mmd(x, y, KERNELS[kernel][0])),
            args,
            2,
            modes=("fwd", "rev"),
        )


def test_mmd_of_samples_that_do_not_fit_raises():
    two = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="x has 1 rows and y 2: give at least two of each"):
        squared_mmd(jnp.zeros((1, 3)), two, rbf(1.0))
    with pytest.raises(ValueError, match="x has 2 rows and y 0"):
        median_distance(two, jnp.zeros((0, 3)))
    for other in (jnp.zeros((2, 4)), jnp.zeros(3)):
        with pytest.raises(ValueError, match=r"x \(2, 3\) and y .* are not \[N, D\] and"):
            squared_mmd(two, other, rbf(1.0))
