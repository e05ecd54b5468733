"""The mixture of discretised logistics against scipy's logistic in float64, grey and in colour."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special, stats

from aejax import likelihoods
from aejax.likelihoods import logistic_mixture_log_prob

LEVELS = np.arange(256)


def mass(level, location, log_scale):
    """P(level) of a logistic over [-1, 1], by its distribution function."""
    scale = np.exp(np.maximum(log_scale, -7))
    level = np.asarray(level, np.float64)
    upper = np.where(level == 255, np.inf, (2 * level + 1) / 255 - 1)
    lower = np.where(level == 0, -np.inf, (2 * level - 1) / 255 - 1)
    cdf, sf = stats.logistic(location, scale).cdf, stats.logistic(location, scale).sf
    # Either difference is exact on its own side.
    return np.where(lower > location, sf(lower) - sf(upper), cdf(upper) - cdf(lower))


def signed(level):
    return level / 127.5 - 1


def pixel(outputs, level):
    """The probability of one pixel of C channels; outputs as in the docstring."""
    channels = len(level)
    k = len(outputs) // (3 if channels == 1 else 10)
    weights, rest = special.softmax(outputs[:k]), outputs[k:].reshape(channels, -1, k)
    total = 0.0
    for i in range(k):
        location = list(rest[:, 0, i])
        if channels == 3:
            red_green, red_blue, green_blue = np.tanh(rest[:, 2, i])
            location[1] += red_green * signed(level[0])
            location[2] += red_blue * signed(level[0]) + green_blue * signed(level[1])
        each = [mass(level[c], location[c], rest[c, 1, i]) for c in range(channels)]
        total += weights[i] * np.prod(each)
    return total


def arrays(channels, per_component, components, seed=0):
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(2, 3, 2, per_component * components))
    return outputs, rng.choice([0, 1, 60, 128, 254, 255], (2, 3, 2, channels))


@pytest.mark.parametrize(("channels", "per_component"), [(1, 3), (3, 10)])
@pytest.mark.parametrize("components", [1, 3])
def test_equals_scipy(channels, per_component, components):
    outputs, level = arrays(channels, per_component, components)
    outputs -= 1.5 * (np.random.default_rng(1).uniform(size=outputs.shape) < 0.2)
    expected = [
        sum(np.log(pixel(outputs[b, h, w], level[b, h, w])) for h, w in np.ndindex(3, 2))
        for b in range(2)
    ]
    got = jax.jit(logistic_mixture_log_prob)(jnp.asarray(outputs), jnp.asarray(level) / 255)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("log_scale", [-9.0, -7.0, -4.0, 0.0, 3.0])
@pytest.mark.parametrize("location", [-1.2, 0.3])
def test_one_logistic_at_every_level(location, log_scale):
    outputs = jnp.tile(jnp.array([[0.7, location, log_scale]]), (256, 1))
    with jax.enable_x64(True):
        outputs = outputs.astype(jnp.float64)
        got = jax.jit(logistic_mixture_log_prob)(outputs, jnp.arange(256.0).reshape(256, 1) / 255)
        location, log_scale = (float(v) for v in outputs[0, 1:])
    probable = mass(LEVELS, location, log_scale) > 1e-250
    expected = np.log(mass(LEVELS[probable], location, log_scale))
    np.testing.assert_allclose(np.asarray(got)[probable], expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.exp(got).sum(), 1, rtol=1e-9)


def test_a_level_far_in_the_tail_keeps_its_digits():
    # 1.5 from the location, by e^7 over the scale; the mass itself is 0 in float32 and float64.
    outputs, x = jnp.array([[0.0, -0.5, -7.0]]), jnp.full((1, 1), 254 / 255)
    e7 = np.exp(7)
    expected = -(signed(253.5) + 0.5) * e7 + np.log(-np.expm1(-2 / 255 * e7))
    got = jax.jit(logistic_mixture_log_prob)(outputs, x)
    np.testing.assert_allclose(got, [expected], rtol=1e-6)


def test_colour_probabilities_sum_to_one():
    rest = np.zeros((3, 3, 2))
    rest[:, 0] = [[-0.2, -0.25], [0.3, 0.31], [-1.0, -0.9]]
    rest[:, 1] = -6.2
    rest[:, 2] = [[0.8, -0.3], [0.5, 0.6], [-0.9, 0.2]]
    outputs = np.concatenate([[0.3, -0.2], rest.ravel()])
    total, log_prob = 0.0, jax.jit(logistic_mixture_log_prob)
    for weight, i in zip(special.softmax(outputs[:2]), range(2), strict=True):
        # All levels that a scale of a quarter of a level reaches, around each channel's location.
        red = rest[0, 0, i]
        green = rest[1, 0, i] + np.tanh(rest[0, 2, i]) * red
        blue = rest[2, 0, i] + np.tanh(rest[1, 2, i]) * red + np.tanh(rest[2, 2, i]) * green
        middle = np.clip(np.round(127.5 * (np.array([red, green, blue]) + 1)), 0, 255)
        windows = [np.clip(m, 6, 249) + np.arange(-6, 7) for m in middle]
        levels = np.array(list(itertools.product(*windows)))
        one = np.concatenate([[0.0], rest[:, :, i].ravel()])
        tiled = jnp.tile(jnp.asarray(one), (len(levels), 1))
        total += weight * np.exp(log_prob(tiled, jnp.asarray(levels) / 255)).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-4)


@pytest.mark.parametrize(("channels", "per_component"), [(1, 3), (3, 10)])
def test_check_grads(channels, per_component):
    with jax.enable_x64(True):
        outputs, level = map(jnp.asarray, arrays(channels, per_component, 2))
        check_grads(
            jax.jit(lambda outputs: logistic_mixture_log_prob(outputs, level / 255)),
            (outputs,),
            1,
            modes=("fwd", "rev"),
        )


def test_a_scale_beyond_the_computers_is_as_flat():
    outputs, x = jnp.array([[0.0, 0.5, 1e4]]), jnp.full((1, 1), 128 / 255)
    value, slope = jax.jit(jax.value_and_grad(lambda o: logistic_mixture_log_prob(o, x)[0]))(
        outputs
    )
    np.testing.assert_allclose(value, np.log(2 / 255 / 4) - 1e4, rtol=1e-6)
    np.testing.assert_allclose(slope, [[0, 0, -1]], atol=1e-6)


def test_wrong_shapes_name_what_was_expected():
    with pytest.raises(ValueError, match=r"expected \(4, 2, '10 K'\)"):
        logistic_mixture_log_prob(jnp.zeros((4, 2, 9)), jnp.zeros((4, 2, 3)))
    with pytest.raises(ValueError, match=r"x \(4, 2\) is not .* with 1 or 3 channels"):
        logistic_mixture_log_prob(jnp.zeros((4, 6)), jnp.zeros((4, 2)))
    likelihood = likelihoods.logistic_mixture(4)
    with pytest.raises(ValueError, match="1 or 3 channels, not 2: take the categorical"):
        likelihood.channels(2)
    with pytest.raises(ValueError, match=r"expected 12 channels \(grey\) or 40 \(colour\)"):
        likelihood.mean(jnp.zeros((4, 30)))
    with pytest.raises(ValueError, match="components 0 is not positive"):
        likelihoods.logistic_mixture(0)


def pooled_chi_square(levels, probabilities):
    counts = np.bincount(np.round(255 * levels).astype(int), minlength=256)
    means = len(levels) * probabilities / probabilities.sum()
    often = means > 5
    pooled = [*counts[often], counts[~often].sum()]
    return stats.chisquare(pooled, np.append(means[often], means[~often].sum())).pvalue


def test_grey_mean_and_samples_follow_the_distribution():
    likelihood = likelihoods.logistic_mixture(3)
    one = np.array([0.5, -1.0, 0.2, -0.9, 0.1, 1.1, -1.5, -4.0, -2.0])
    probabilities = np.array([pixel(one, [level]) for level in LEVELS])
    outputs = jnp.tile(jnp.asarray(one), (20_000, 1))
    mean = jax.jit(likelihood.mean)(outputs[:1]).item()
    np.testing.assert_allclose(mean, probabilities @ LEVELS / 255, rtol=1e-5)
    x = np.asarray(jax.jit(likelihood.sample)(jax.random.key(0), outputs))
    assert pooled_chi_square(x[:, 0], probabilities) > 0.01


def colour_marginals(one):
    """P(level) of each channel, by summing over the channels before it."""
    weights, rest = special.softmax(one[:2]), one[2:].reshape(3, 3, 2)
    marginals = np.zeros((3, 256))
    for k, weight in enumerate(weights):
        red_green, red_blue, green_blue = np.tanh(rest[:, 2, k])
        location, log_scale = rest[:, 0, k], rest[:, 1, k]
        reds = mass(LEVELS, location[0], log_scale[0])
        marginals[0] += weight * reds
        for red in LEVELS[reds > 1e-7]:
            shifted = location[1] + red_green * signed(red)
            greens = mass(LEVELS, shifted, log_scale[1])
            marginals[1] += weight * reds[red] * greens
            green = LEVELS[greens > 1e-7]
            blue = location[2] + red_blue * signed(red) + green_blue * signed(green)
            blues = mass(LEVELS[None, :], blue[:, None], log_scale[2])
            marginals[2] += weight * reds[red] * (greens[green] @ blues)
    return marginals


def test_colour_mean_and_samples_follow_the_distribution():
    rest = np.zeros((3, 3, 2))
    rest[:, 0] = [[-0.6, 0.5], [0.2, -0.1], [0.3, 0.1]]
    rest[:, 1] = [[-4.5, -4.2], [-4.4, -4.8], [-4.3, -4.6]]
    rest[:, 2] = [[0.8, -0.3], [0.9, 0.6], [-0.9, 0.2]]
    one = np.concatenate([[0.3, -0.2], rest.ravel()])
    likelihood, marginals = likelihoods.logistic_mixture(2), colour_marginals(one)
    outputs = jnp.tile(jnp.asarray(one), (20_000, 1))
    mean = jax.jit(likelihood.mean)(outputs[:1])[0]
    np.testing.assert_allclose(mean, marginals @ LEVELS / 255, rtol=1e-4)
    x = np.asarray(jax.jit(likelihood.sample)(jax.random.key(0), outputs))
    for channel in range(3):
        assert pooled_chi_square(x[:, channel], marginals[channel]) > 0.01
