"""The categorical log-probability against scipy, its mean and its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special, stats

from aejax import likelihoods
from aejax.likelihoods import categorical_log_prob

SHAPE = (2, 3, 2, 3)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return 2 * rng.normal(size=(*SHAPE[:-1], 768)), rng.integers(0, 256, SHAPE)


def test_equals_scipy_channel_by_channel(arrays):
    logits, level = arrays
    of_each = special.log_softmax(logits.reshape(*SHAPE, 256), axis=-1)
    expected = [
        sum(of_each[b, h, w, c, level[b, h, w, c]] for h, w, c in np.ndindex(*SHAPE[1:]))
        for b in range(2)
    ]
    got = categorical_log_prob(jnp.asarray(logits), jnp.asarray(level) / 255)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_probabilities_sum_to_one(arrays):
    logits = jnp.tile(jnp.asarray(arrays[0])[0, 0, 0, :256], (256, 1))
    x = jnp.arange(256).reshape(256, 1) / 255
    np.testing.assert_allclose(jnp.exp(categorical_log_prob(logits, x)).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("chosen", [0, 255])
def test_is_exact_at_extreme_logits(chosen):
    logits = jnp.full((1, 256), -1e4).at[0, 0].set(1e4)
    x = jnp.full((1, 1), chosen / 255)
    value, slope = jax.value_and_grad(lambda logits: categorical_log_prob(logits, x)[0])(logits)
    np.testing.assert_allclose(value, 0 if chosen == 0 else -2e4)
    expected = np.eye(256)[chosen] - np.eye(256)[0]
    np.testing.assert_allclose(slope[0], expected, atol=1e-30)


def test_check_grads(arrays):
    with jax.enable_x64(True):
        logits, level = map(jnp.asarray, arrays)
        check_grads(
            jax.jit(lambda logits: categorical_log_prob(logits, level / 255)),
            (logits,),
            2,
            modes=("fwd", "rev"),
        )


def test_wrong_shapes_name_what_was_expected():
    with pytest.raises(ValueError, match=r"expected \(4, 2, 768\), 256 outputs a channel of x"):
        categorical_log_prob(jnp.zeros((4, 2, 256)), jnp.zeros((4, 2, 3)))
    with pytest.raises(ValueError, match=r"x \(4,\) is not \[B, ..., C\]"):
        categorical_log_prob(jnp.zeros((1024,)), jnp.zeros((4,)))


def test_mean_and_samples_follow_the_distribution(arrays):
    likelihood = likelihoods.categorical()
    logits = arrays[0][0, 0, 0, :512]
    probabilities = special.softmax(logits.reshape(2, 256), axis=-1)
    outputs = jnp.tile(jnp.asarray(logits), (10_000, 1))
    expected = probabilities @ np.arange(256) / 255
    np.testing.assert_allclose(likelihood.mean(outputs[:1])[0], expected, rtol=1e-5)
    level = 255 * np.asarray(likelihood.sample(jax.random.key(0), outputs))
    np.testing.assert_allclose(level, np.round(level), atol=1e-4)
    for i in range(2):
        counts = np.bincount(np.round(level[:, i]).astype(int), minlength=256)
        often = 10_000 * probabilities[i] > 5
        pooled = [*counts[often], counts[~often].sum()]
        means = 10_000 * np.append(probabilities[i][often], probabilities[i][~often].sum())
        assert stats.chisquare(pooled, means).pvalue > 0.01
