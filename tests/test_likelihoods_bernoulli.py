"""The Bernoulli's log-probability against scipy and optax, at the extremes, and its samples."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads
from scipy import stats

from aejax import likelihoods
from aejax.likelihoods import bernoulli_log_prob

SHAPE = (4, 3, 2, 1)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return 2 * rng.normal(size=SHAPE), rng.uniform(size=SHAPE)


def rows(values):
    return np.sum(values.reshape(len(values), -1), axis=1)


def test_of_binary_pixels_equals_scipy(arrays):
    logits, grey = arrays
    x = np.round(grey)
    got = bernoulli_log_prob(jnp.asarray(logits), jnp.asarray(x))
    chex.assert_shape(got, (4,))
    expected = rows(stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits))))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_of_grey_pixels_equals_optax(arrays):
    logits, x = map(jnp.asarray, arrays)
    expected = -rows(optax.sigmoid_binary_cross_entropy(logits, x))
    np.testing.assert_allclose(bernoulli_log_prob(logits, x), expected, rtol=1e-5)


def test_probabilities_sum_to_one():
    logits = jnp.linspace(-5, 5, 11).reshape(11, 1)
    total = sum(jnp.exp(bernoulli_log_prob(logits, jnp.full((11, 1), x))) for x in (0.0, 1.0))
    np.testing.assert_allclose(total, np.ones(11), rtol=1e-6)


@pytest.mark.parametrize("x", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
def test_is_exact_at_extreme_logits(logit, x):
    def log_prob(logit):
        return bernoulli_log_prob(logit.reshape(1, 1), jnp.full((1, 1), x))[0]

    value, slope = jax.value_and_grad(log_prob)(jnp.array(logit))
    chex.assert_tree_all_finite((value, slope, jax.hessian(log_prob)(jnp.array(logit))))
    np.testing.assert_allclose(value, x * logit - max(logit, 0), rtol=1e-6)
    np.testing.assert_allclose(slope, x - (logit > 0), atol=1e-30)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_gradient_at_logit_zero(transform):
    x = jnp.array([[0.0, 0.3, 1.0]])
    gradient = transform(jax.grad(lambda logits: bernoulli_log_prob(logits, x)[0]))
    np.testing.assert_allclose(gradient(jnp.zeros((1, 3))), x - 0.5, atol=1e-7)
    np.testing.assert_allclose(gradient(-jnp.zeros((1, 3))), x - 0.5, atol=1e-7)


def test_curvature_at_logit_zero():
    curvature = jax.hessian(lambda logit: bernoulli_log_prob(logit, jnp.full((1, 1), 0.3))[0])
    np.testing.assert_allclose(curvature(jnp.zeros((1, 1))).item(), -0.25, rtol=1e-6)


def test_check_grads(arrays):
    with jax.enable_x64(True):
        logits, x = map(jnp.asarray, arrays)
        check_grads(jax.jit(bernoulli_log_prob), (logits, x), 2, modes=("fwd", "rev"))


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 2), (1, 3, 2, 1), (4, 3, 2, 3)])
def test_differing_shapes_raise(shape):
    with pytest.raises(ValueError, match=r"logits .* and x \(4, 3, 2, 1\)"):
        bernoulli_log_prob(jnp.zeros(shape), jnp.zeros(SHAPE))


def test_samples_have_the_probabilities():
    likelihood = likelihoods.bernoulli()
    p = np.array([0.1, 0.5, 0.8])
    logits = jnp.tile(jnp.log(p / (1 - p)).reshape(1, 3), (20_000, 1))
    np.testing.assert_allclose(likelihood.mean(logits)[0], p, rtol=1e-6)
    x = np.asarray(likelihood.sample(jax.random.key(0), logits))
    assert set(np.unique(x)) == {0.0, 1.0}
    for ones, expected in zip(x.sum(axis=0), 20_000 * p, strict=True):
        counts, means = [ones, 20_000 - ones], [expected, 20_000 - expected]
        assert stats.chisquare(counts, means).pvalue > 0.01
