"""Gaussian log-probabilities against scipy, the scale that suits an image best, and samples."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, optimize, stats

from aejax import likelihoods
from aejax.likelihoods import (
    gaussian_log_prob,
    gaussian_optimal_log_prob,
    gaussian_per_pixel_log_prob,
)
from aejax.likelihoods.gaussian import MIN_SIGMA

SHAPE = (4, 3, 2, 1)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    mean, log_sigma = 2 * rng.normal(size=SHAPE), 0.5 * rng.normal(size=SHAPE)
    return mean, log_sigma, rng.uniform(size=SHAPE)


def rows(values):
    return np.sum(values.reshape(len(values), -1), axis=1)


def test_equals_scipy(arrays):
    mean, log_sigma, x = arrays
    got = gaussian_log_prob(*map(jnp.asarray, arrays))
    chex.assert_shape(got, (4,))
    np.testing.assert_allclose(got, rows(stats.norm.logpdf(x, mean, np.exp(log_sigma))), rtol=1e-5)
    for scalar in (-1.2, jnp.float32(-1.2)):
        got = gaussian_log_prob(jnp.asarray(mean), scalar, jnp.asarray(x))
        np.testing.assert_allclose(got, rows(stats.norm.logpdf(x, mean, np.exp(-1.2))), rtol=1e-5)


@pytest.mark.parametrize("log_sigma", [-2.0, 0.0, 1.0])
def test_density_integrates_to_one(log_sigma):
    x = jnp.linspace(-30, 30, 20_001).reshape(-1, 1)
    density = jnp.exp(gaussian_log_prob(jnp.full_like(x, 0.4), log_sigma, x))
    np.testing.assert_allclose(np.trapezoid(density, x[:, 0]), 1, rtol=1e-4)


@pytest.mark.parametrize("scale", ["scalar", "per_pixel"])
def test_check_grads(arrays, scale):
    with jax.enable_x64(True):
        mean, log_sigma, x = map(jnp.asarray, arrays)
        log_sigma = jnp.array(-0.3) if scale == "scalar" else log_sigma
        check_grads(jax.jit(gaussian_log_prob), (mean, log_sigma, x), 2, modes=("fwd", "rev"))


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 2), (1, 3, 2, 1), (4, 3, 2, 3)])
def test_differing_shapes_raise(shape):
    x, other = jnp.zeros(SHAPE), jnp.zeros(shape)
    with pytest.raises(ValueError, match=r"mean .* and x \(4, 3, 2, 1\)"):
        gaussian_log_prob(other, 0.0, x)
    with pytest.raises(ValueError, match=r"log_sigma .* and x \(4, 3, 2, 1\)"):
        gaussian_log_prob(x, other, x)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma .* is not positive"):
        likelihoods.gaussian(sigma)


def test_fixed_and_learned_scales_agree(arrays):
    mean, _, x = map(jnp.asarray, arrays)
    fixed = likelihoods.gaussian(0.3).log_prob(mean, x)
    learned = likelihoods.gaussian_learned().log_prob((mean, jnp.log(0.3)), x)
    chex.assert_trees_all_close(fixed, learned, rtol=1e-6)


def test_a_fixed_scale_may_be_made_inside_jit():
    mean = jnp.zeros((2, 3))
    inside = jax.jit(lambda m: likelihoods.gaussian(0.5).log_prob(m, m))(mean)
    np.testing.assert_allclose(inside, likelihoods.gaussian(0.5).log_prob(mean, mean), rtol=1e-6)


def test_per_pixel_outputs_are_means_then_scales(arrays):
    mean, log_sigma, x = (a.reshape(4, 2, 3) for a in arrays)
    got = gaussian_per_pixel_log_prob(jnp.concatenate([mean, log_sigma], axis=-1), jnp.asarray(x))
    # Half a per mille above the decoder's scale, for the bound: softplus(v) = v + log1p(e^-v).
    sigma = np.exp(log_sigma) + MIN_SIGMA
    np.testing.assert_allclose(got, rows(stats.norm.logpdf(x, mean, sigma)), rtol=1e-5)


def test_per_pixel_density_integrates_to_one():
    with jax.enable_x64(True):
        outputs = jnp.array([[0.4, -1.5]])
        density = jax.jit(
            lambda x: jnp.exp(gaussian_per_pixel_log_prob(outputs, jnp.reshape(x, (1, 1)))[0])
        )
        total, _ = integrate.quad(density, -5, 5, points=[0.4])
    np.testing.assert_allclose(total, 1, rtol=1e-8)


def test_per_pixel_scale_has_a_floor_that_lets_go():
    def log_prob(unbounded, x):
        return gaussian_per_pixel_log_prob(jnp.array([[0.0, unbounded]]), jnp.full((1, 1), x))[0]

    at_floor = stats.norm.logpdf(0, 0, MIN_SIGMA)
    np.testing.assert_allclose(log_prob(-1e4, 0.0), at_floor, rtol=1e-6)
    assert jax.grad(log_prob)(-10.0, 0.5) > 1  # an error far above the scale widens it


def test_per_pixel_check_grads(arrays):
    with jax.enable_x64(True):
        mean, log_sigma, x = map(jnp.asarray, arrays)
        outputs = jnp.concatenate([mean, log_sigma], axis=-1)
        check_grads(jax.jit(gaussian_per_pixel_log_prob), (outputs, x), 2, modes=("rev",))


def test_optimal_is_the_best_fixed_scale_of_each_image(arrays):
    mean, _, x = arrays
    got = gaussian_optimal_log_prob(jnp.asarray(mean), jnp.asarray(x))
    for value, m, row in zip(got, mean, x, strict=True):
        best = optimize.minimize_scalar(
            lambda s, m=m, row=row: -stats.norm.logpdf(row, m, np.exp(s)).sum(), bounds=(-7, 3)
        )
        np.testing.assert_allclose(value, -best.fun, rtol=1e-5)


def test_optimal_of_a_batch_is_no_less_than_the_papers(arrays):
    mean, _, x = map(jnp.asarray, arrays)
    paper = gaussian_log_prob(mean, 0.5 * jnp.log(jnp.mean((x - mean) ** 2)), x)
    assert gaussian_optimal_log_prob(mean, x).sum() > paper.sum()
    level = x + jnp.sign(mean)  # where all errors are equal so are the two
    paper = gaussian_log_prob(level, 0.0, x)
    np.testing.assert_allclose(gaussian_optimal_log_prob(level, x), paper, rtol=1e-5)


def test_optimal_of_an_exact_reconstruction_is_at_the_floor():
    x = jnp.full((2, 3), 0.3)
    value, slope = jax.value_and_grad(lambda m: gaussian_optimal_log_prob(m, x)[0])(x)
    np.testing.assert_allclose(value, 3 * stats.norm.logpdf(0, 0, MIN_SIGMA), rtol=1e-6)
    np.testing.assert_array_equal(slope, np.zeros((2, 3)))


def test_optimal_check_grads(arrays):
    with jax.enable_x64(True):
        mean, _, x = map(jnp.asarray, arrays)
        near = x + 1e-4 * mean  # under the floor
        for m in (mean, near):
            check_grads(
                jax.jit(gaussian_optimal_log_prob), (m, x), 1, modes=("fwd", "rev"), eps=1e-7
            )


def test_optimal_has_no_samples():
    with pytest.raises(ValueError, match="gaussian_optimal has no samples.*take the mean"):
        likelihoods.gaussian_optimal().sample(jax.random.key(0), jnp.zeros((2, 3)))


MEAN = jnp.array([0.1, 0.5, 0.8])
SAMPLERS = {
    "fixed": (likelihoods.gaussian(0.3), lambda m: m, [0.3] * 3),
    "learned": (likelihoods.gaussian_learned(), lambda m: (m, jnp.log(0.7)), [0.7] * 3),
    "learned_per_element": (likelihoods.gaussian_learned(), lambda m: (m, jnp.log(m)), MEAN),
    "per_pixel": (
        likelihoods.gaussian_per_pixel(),
        lambda m: jnp.concatenate([m, jnp.log(m)], axis=-1),
        MEAN + MIN_SIGMA,
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_follow_the_distribution(name):
    likelihood, outputs_of, sigma = SAMPLERS[name]
    mean = jnp.tile(MEAN.reshape(1, 1, 3), (20_000, 1, 1))
    outputs = outputs_of(mean)
    np.testing.assert_allclose(likelihood.mean(outputs), mean, rtol=1e-6)
    x = likelihood.sample(jax.random.key(0), outputs)
    chex.assert_equal_shape([x, mean])
    for i in range(3):
        cdf = stats.norm(float(MEAN[i]), float(sigma[i])).cdf
        assert stats.kstest(np.asarray(x)[:, 0, i], cdf).pvalue > 0.01
