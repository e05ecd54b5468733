"""Log-probabilities against scipy and optax, at the extremes, and the samplers' moments."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads
from scipy import stats

from aejax import likelihoods
from aejax.likelihoods import bernoulli_log_prob, gaussian_log_prob

SHAPE = (4, 3, 2, 1)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    outputs, log_sigma = 2 * rng.normal(size=SHAPE), 0.5 * rng.normal(size=SHAPE)
    return outputs, log_sigma, rng.uniform(size=SHAPE)


def rows(values):
    return np.sum(values.reshape(len(values), -1), axis=1)


def test_bernoulli_of_binary_pixels_equals_scipy(arrays):
    logits, _, grey = arrays
    x = np.round(grey)
    got = bernoulli_log_prob(jnp.asarray(logits), jnp.asarray(x))
    chex.assert_shape(got, (4,))
    expected = rows(stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits))))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_bernoulli_of_grey_pixels_equals_optax(arrays):
    logits, _, x = map(jnp.asarray, arrays)
    expected = -rows(optax.sigmoid_binary_cross_entropy(logits, x))
    np.testing.assert_allclose(bernoulli_log_prob(logits, x), expected, rtol=1e-5)


def test_bernoulli_probabilities_sum_to_one():
    logits = jnp.linspace(-5, 5, 11).reshape(11, 1)
    total = sum(jnp.exp(bernoulli_log_prob(logits, jnp.full((11, 1), x))) for x in (0.0, 1.0))
    np.testing.assert_allclose(total, np.ones(11), rtol=1e-6)


@pytest.mark.parametrize("x", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
def test_bernoulli_is_exact_at_extreme_logits(logit, x):
    def log_prob(logit):
        return bernoulli_log_prob(logit.reshape(1, 1), jnp.full((1, 1), x))[0]

    value, slope = jax.value_and_grad(log_prob)(jnp.array(logit))
    chex.assert_tree_all_finite((value, slope, jax.hessian(log_prob)(jnp.array(logit))))
    np.testing.assert_allclose(value, x * logit - max(logit, 0), rtol=1e-6)
    np.testing.assert_allclose(slope, x - (logit > 0), atol=1e-30)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_bernoulli_gradient_at_logit_zero(transform):
    x = jnp.array([[0.0, 0.3, 1.0]])
    gradient = transform(jax.grad(lambda logits: bernoulli_log_prob(logits, x)[0]))
    np.testing.assert_allclose(gradient(jnp.zeros((1, 3))), x - 0.5, atol=1e-7)
    np.testing.assert_allclose(gradient(-jnp.zeros((1, 3))), x - 0.5, atol=1e-7)


def test_bernoulli_curvature_at_logit_zero():
    curvature = jax.hessian(lambda logit: bernoulli_log_prob(logit, jnp.full((1, 1), 0.3))[0])
    np.testing.assert_allclose(curvature(jnp.zeros((1, 1))).item(), -0.25, rtol=1e-6)


def test_gaussian_equals_scipy(arrays):
    mean, log_sigma, x = arrays
    got = gaussian_log_prob(*map(jnp.asarray, arrays))
    chex.assert_shape(got, (4,))
    np.testing.assert_allclose(got, rows(stats.norm.logpdf(x, mean, np.exp(log_sigma))), rtol=1e-5)
    for scalar in (-1.2, jnp.float32(-1.2)):
        got = gaussian_log_prob(jnp.asarray(mean), scalar, jnp.asarray(x))
        np.testing.assert_allclose(got, rows(stats.norm.logpdf(x, mean, np.exp(-1.2))), rtol=1e-5)


@pytest.mark.parametrize("log_sigma", [-2.0, 0.0, 1.0])
def test_gaussian_density_integrates_to_one(log_sigma):
    x = jnp.linspace(-30, 30, 20_001).reshape(-1, 1)
    density = jnp.exp(gaussian_log_prob(jnp.full_like(x, 0.4), log_sigma, x))
    np.testing.assert_allclose(np.trapezoid(density, x[:, 0]), 1, rtol=1e-4)


@pytest.mark.parametrize("scale", ["scalar", "per_pixel"])
def test_gaussian_check_grads(arrays, scale):
    with jax.enable_x64(True):
        mean, log_sigma, x = map(jnp.asarray, arrays)
        log_sigma = jnp.array(-0.3) if scale == "scalar" else log_sigma
        check_grads(jax.jit(gaussian_log_prob), (mean, log_sigma, x), 2, modes=("fwd", "rev"))


def test_bernoulli_check_grads(arrays):
    with jax.enable_x64(True):
        logits, _, x = map(jnp.asarray, arrays)
        check_grads(jax.jit(bernoulli_log_prob), (logits, x), 2, modes=("fwd", "rev"))


def test_jit_and_vmap_change_nothing(arrays):
    outputs, log_sigma, x = map(jnp.asarray, arrays)
    for f, args in (
        (bernoulli_log_prob, (outputs, x)),
        (gaussian_log_prob, (outputs, log_sigma, x)),
    ):
        expected = f(*args)
        chex.assert_trees_all_close(jax.jit(f)(*args), expected, rtol=1e-6)
        pairs = [a.reshape(2, 2, *SHAPE[1:]) for a in args]
        chex.assert_trees_all_close(jax.vmap(f)(*pairs), expected.reshape(2, 2), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 2), (1, 3, 2, 1), (4, 3, 2, 3)])
def test_differing_shapes_raise(shape):
    x, other = jnp.zeros(SHAPE), jnp.zeros(shape)
    with pytest.raises(ValueError, match=r"logits .* and x \(4, 3, 2, 1\)"):
        bernoulli_log_prob(other, x)
    with pytest.raises(ValueError, match=r"mean .* and x \(4, 3, 2, 1\)"):
        gaussian_log_prob(other, 0.0, x)
    with pytest.raises(ValueError, match=r"log_sigma .* and x \(4, 3, 2, 1\)"):
        gaussian_log_prob(x, other, x)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma .* is not positive"):
        likelihoods.gaussian(sigma)


LIKELIHOODS = {
    "bernoulli": (likelihoods.bernoulli(), lambda m: jnp.log(m / (1 - m)), None),
    "gaussian": (likelihoods.gaussian(0.3), lambda m: m, 0.3),
    "learned": (likelihoods.gaussian_learned(), lambda m: (m, jnp.log(0.7)), 0.7),
    "per_pixel": (likelihoods.gaussian_learned(), lambda m: (m, jnp.log(m)), "mean"),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_samples_have_the_mean_and_deviation_of_the_density(name):
    likelihood, outputs_of, sigma = LIKELIHOODS[name]
    mean = jnp.tile(jnp.array([0.1, 0.5, 0.8]).reshape(1, 1, 3, 1), (40_000, 1, 1, 1))
    outputs = outputs_of(mean)
    np.testing.assert_allclose(likelihood.mean(outputs), mean, rtol=1e-6)
    x = likelihood.sample(jax.random.key(0), outputs)
    chex.assert_equal_shape([x, mean])
    chex.assert_shape(likelihood.log_prob(outputs, x), (40_000,))
    m = np.asarray(mean[0])
    std = (
        np.sqrt(m * (1 - m)) if sigma is None else m if sigma == "mean" else np.full_like(m, sigma)
    )
    errors = np.abs(x.mean(0) - m) / (std / np.sqrt(40_000))
    assert errors.max() < 4  # standard errors
    np.testing.assert_allclose(x.std(0), std, rtol=0.02)
    assert name != "bernoulli" or set(np.unique(x)) == {0.0, 1.0}


def test_fixed_and_learned_scales_agree(arrays):
    mean, _, x = map(jnp.asarray, arrays)
    fixed = likelihoods.gaussian(0.3).log_prob(mean, x)
    learned = likelihoods.gaussian_learned().log_prob((mean, jnp.log(0.3)), x)
    chex.assert_trees_all_close(fixed, learned, rtol=1e-6)


def test_a_fixed_scale_may_be_made_inside_jit():
    mean = jnp.zeros((2, 3))
    inside = jax.jit(lambda m: likelihoods.gaussian(0.5).log_prob(m, m))(mean)
    np.testing.assert_allclose(inside, likelihoods.gaussian(0.5).log_prob(mean, mean), rtol=1e-6)
