"""Annealed importance sampling and its reverse on a linear Gaussian model, against exact log p."""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import LinearGaussian

from aejax.bounds import iwae_bound
from aejax.evaluation.annealed import (
    anneal,
    annealed_importance,
    linear_schedule,
    path_to_joint,
    sigmoidal_schedule,
    tuned_step_sizes,
)
from aejax.evaluation.bidirectional import bidirectional_bounds
from aejax.evaluation.mean import mean_and_error
from aejax.latents import standard_normal


def prior(x):
    return standard_normal((len(x), 2))


def prior_of(batch):
    return prior(batch["x"])


def annealed(linear, x, initial, *, chains=16, betas, seed=0):
    run = jax.jit(partial(annealed_importance, linear.model, chains=chains, leapfrog_steps=5))
    return run(linear.variables, {"x": x}, initial, jax.random.key(seed), betas=betas)


def assert_mean_is_one(ratios):
    """Of [K, B]; a row of images is one unit, since an image's chains share their step size."""
    found = mean_and_error(np.asarray(ratios, np.float64).mean(axis=0))
    assert abs(found.mean - 1) < 4 * found.error
    assert found.error < 0.1


@pytest.mark.parametrize(
    ("schedule", "start"),
    [
        (linear_schedule, "prior"),
        (sigmoidal_schedule, "posterior"),
        pytest.param(linear_schedule, "posterior", marks=pytest.mark.slow),
        pytest.param(sigmoidal_schedule, "prior", marks=pytest.mark.slow),
    ],
)
def test_weights_over_p_are_one_on_average(start, schedule):
    """Without bias at any length: 20 temperatures, few enough for weights far from equal."""
    linear = LinearGaussian(inflation=1.6)
    x = linear.data(100)
    initial = prior(x) if start == "prior" else linear.encode(linear.params, x)
    found = annealed(linear, x, initial, betas=schedule(20))
    chex.assert_shape(found.log_weights, (16, 100))
    errors = found.log_weights - linear.log_marginal(x)[None]
    assert float(errors.std()) > 0.05
    assert_mean_is_one(np.exp(errors))


@pytest.mark.slow
def test_many_temperatures_close_on_log_p():
    linear = LinearGaussian()
    x = linear.data(20)
    exact = linear.log_marginal(x)
    few, many = (
        iwae_bound(annealed(linear, x, prior(x), betas=sigmoidal_schedule(n)).log_weights) - exact
        for n in (2, 100)
    )
    assert float(jnp.abs(many).mean()) < 0.25 < 0.5 < float(jnp.abs(few).mean())


@pytest.mark.slow
def test_step_sizes_accept_the_target_and_suit_the_temperature():
    linear = LinearGaussian(sigma=0.1)
    x = linear.data(20)
    found = annealed(linear, x, prior(x), betas=linear_schedule(200))
    chex.assert_shape(found.acceptance, (200, 20))
    assert abs(float(found.acceptance[50:].mean()) - 0.65) < 0.1
    path = path_to_joint(linear.model, linear.variables, {"x": x}, prior(x))
    tune = jax.jit(partial(tuned_step_sizes, path=path, leapfrog_steps=3))
    sizes = tune(jax.random.key(0), prior(x), betas=linear_schedule(200))
    assert float(sizes[:5].mean()) > 3 * float(sizes[-5:].mean())


@pytest.mark.slow
def test_the_last_draws_are_of_the_posterior():
    linear = LinearGaussian()
    x = linear.data(3)
    found = annealed(linear, x, prior(x), chains=2000, betas=sigmoidal_schedule(50))
    weights = jax.nn.softmax(found.log_weights, axis=0)[..., None]
    mean = jnp.sum(weights * found.z, axis=0)
    deviation = jnp.sqrt(jnp.sum(weights * (found.z - mean[None]) ** 2, axis=0))
    posterior = linear.encode(linear.params, x)
    np.testing.assert_allclose(mean, posterior.mean, atol=0.06)
    np.testing.assert_allclose(deviation, jnp.exp(posterior.log_sigma), rtol=0.1)


def test_the_reverse_from_posterior_draws_estimates_one_over_p():
    linear = LinearGaussian()
    x = linear.data(200)
    path = path_to_joint(linear.model, linear.variables, {"x": x}, prior(x))
    z = linear.encode(linear.params, x).samples(jax.random.key(0), 8)
    betas = linear_schedule(20)
    sizes = jnp.full((21, 200), 0.5)
    run = jax.jit(partial(anneal, path=path, leapfrog_steps=3))
    found = run(jax.random.key(1), z, betas=betas[::-1], step_sizes=sizes)
    assert_mean_is_one(np.exp(found.log_weights + linear.log_marginal(x)[None]))


@pytest.mark.parametrize("start", [pytest.param("prior", marks=pytest.mark.slow), "posterior"])
def test_both_ways_bracket_log_p(start):
    """On average over images; x is drawn beforehand, to know log p(x)."""
    linear = LinearGaussian(inflation=1.6)
    z_key, sample_key, key = jax.random.split(jax.random.key(0), 3)
    z = jax.random.normal(z_key, (200, 2))
    x = linear.sample(sample_key, linear.decode(linear.params, z))
    exact = linear.log_marginal(x)
    of_x = dataclasses.replace(linear.model, draw=lambda variables, key, z: x)
    posterior = partial(linear.model.posterior, linear.variables)
    initial = prior_of if start == "prior" else posterior
    bounds = jax.jit(
        lambda key, betas: bidirectional_bounds(
            of_x, linear.variables, z, initial, key, chains=4, betas=betas
        )
    )
    short, long = (bounds(k, linear_schedule(n)) for k, n in zip(split(key), (2, 40), strict=True))
    for found in (short, long):
        below, above = mean_and_error(exact - found.lower), mean_and_error(found.upper - exact)
        assert below.mean > -3 * below.error
        assert above.mean > -3 * above.error
        np.testing.assert_allclose(found.gap, found.upper - found.lower)
    assert mean_and_error(short.gap).mean > 2 * abs(mean_and_error(long.gap).mean)


def split(key):
    return tuple(jax.random.split(key))


@pytest.mark.slow
def test_both_ways_on_data_of_the_models_own_sampler():
    """Without knowing log p(x): the bounds of a long run agree."""
    linear = LinearGaussian()
    z_key, key = jax.random.split(jax.random.key(5))
    z = jax.random.normal(z_key, (20, 2))
    bounds = jax.jit(partial(bidirectional_bounds, linear.model, initial=prior_of, chains=8))
    found = bounds(linear.variables, z=z, key=key, betas=sigmoidal_schedule(200))
    assert float(jnp.abs(found.gap).mean()) < 0.25
    assert abs(mean_and_error(found.lower).mean - linear.log_marginal(linear.data(500)).mean()) < 1


def test_schedules_rise_from_zero_to_one():
    for schedule in (linear_schedule, sigmoidal_schedule):
        betas = np.asarray(schedule(1000))
        assert betas.shape == (1001,)
        assert (betas[0], betas[-1]) == (0, 1)
        assert (np.diff(betas) > 0).all()
    slow = np.diff(sigmoidal_schedule(100))
    np.testing.assert_allclose(slow, slow[::-1], rtol=1e-3)
    assert slow[50] > 5 * slow[0]
    with pytest.raises(ValueError, match="0 steps lead nowhere: give at least 1"):
        linear_schedule(0)
