"""The damage that is done is the damage that is said: moments, ranges and rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax.corruptions import gaussian_noise, masking, salt_and_pepper

GREY = np.full((20, 28, 28, 1), 0.5, np.float32)


@pytest.mark.parametrize("corrupt", [gaussian_noise, salt_and_pepper, masking])
def test_damage_keeps_shape_and_range_and_depends_on_the_key_alone(corrupt):
    x = np.random.default_rng(0).random((5, 7, 6, 3), dtype=np.float32)
    y = corrupt(jax.random.key(0), x)
    assert y.shape == x.shape
    assert y.dtype == jnp.float32
    assert 0 <= y.min() <= y.max() <= 1
    np.testing.assert_array_equal(y, corrupt(jax.random.key(0), x))
    assert np.any(y != corrupt(jax.random.key(1), x))


def test_gaussian_noise_follows_the_normal_law_between_the_clipped_ends():
    y = np.asarray(gaussian_noise(jax.random.key(3), GREY, mean=0.1, sigma=0.3)).ravel()
    law = stats.norm(0.6, 0.3)
    inside = y[(y > 0) & (y < 1)]
    truncated = stats.truncnorm(-0.6 / 0.3, 0.4 / 0.3, loc=0.6, scale=0.3)
    assert stats.kstest(inside, truncated.cdf).pvalue > 1e-3
    assert stats.binomtest(int((y == 0).sum()), y.size, law.cdf(0)).pvalue > 1e-3
    assert stats.binomtest(int((y == 1).sum()), y.size, law.sf(1)).pvalue > 1e-3


def test_the_lessons_noise_on_black_has_the_moments_of_a_clipped_normal():
    y = np.asarray(
        gaussian_noise(jax.random.key(4), np.zeros_like(GREY), mean=0.5, sigma=0.5)
    ).ravel()
    # By symmetry the mean is 1/2; the variance of clip(N(1/2, 1/4), 0, 1) in closed form.
    phi, inner = stats.norm.pdf(1), stats.norm.cdf(1) - stats.norm.cdf(-1)
    variance = 0.25 * (inner - 2 * phi) + 0.25 * (1 - inner)
    assert abs(y.mean() - 0.5) < 4 * np.sqrt(variance / y.size)
    assert abs(y.var() - variance) < 0.02 * variance


def test_salt_and_pepper_come_at_their_rates_and_the_rest_stays():
    y = np.asarray(salt_and_pepper(jax.random.key(5), GREY, rate=0.4)).ravel()
    counts = [(y == value).sum() for value in (0, 0.5, 1)]
    assert sum(counts) == y.size
    assert stats.chisquare(counts, np.array([0.2, 0.6, 0.2]) * y.size).pvalue > 1e-3


def test_masking_comes_at_its_rate_and_the_rest_stays():
    y = np.asarray(masking(jax.random.key(6), GREY, rate=0.25)).ravel()
    assert set(np.unique(y)) == {0.0, 0.5}
    assert stats.binomtest(int((y == 0).sum()), y.size, 0.25).pvalue > 1e-3


@pytest.mark.parametrize("corrupt", [salt_and_pepper, masking])
def test_no_rate_is_no_damage_and_images_are_damaged_apart(corrupt):
    np.testing.assert_array_equal(corrupt(jax.random.key(0), GREY, rate=0.0), GREY)
    y = np.asarray(corrupt(jax.random.key(1), GREY)) != 0.5
    assert abs(np.corrcoef(y[0].ravel(), y[1].ravel())[0, 1]) < 0.15
