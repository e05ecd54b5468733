"""Learned priors: densities, draws, and where their parameters come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, stats

from aejax.latents import DiagonalGaussian
from aejax.nets.priors import MixturePrior, VampPrior
from aejax.priors import DiagonalMixture, vamp_prior

LOGITS = np.array([0.5, -1.0, 0.2])
MEAN = np.array([[-2.0, 0.0], [0.5, 1.0], [3.0, -1.0]])
SIGMA = np.array([[0.5, 1.0], [1.5, 0.3], [0.8, 0.7]])


@pytest.fixture
def mixture():
    components = DiagonalGaussian(jnp.asarray(MEAN), jnp.log(jnp.asarray(SIGMA)))
    return DiagonalMixture(jnp.asarray(LOGITS), components)


def density(z):
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum()
    return (weights * stats.norm(MEAN, SIGMA).pdf(z[:, None]).prod(axis=-1)).sum(axis=-1)


@pytest.mark.parametrize("shape", [(7,), (4, 7)])
def test_log_prob_is_scipys(mixture, shape):
    z = np.random.default_rng(0).normal(size=(*shape, 2))
    got = mixture.log_prob(jnp.asarray(z))
    np.testing.assert_allclose(got, np.log(density(z.reshape(-1, 2))).reshape(shape), rtol=1e-4)


def test_it_integrates_to_one(mixture):
    grid = np.linspace(-9, 9, 361)
    z = jnp.asarray(np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1))
    values = np.exp(mixture.log_prob(z))
    np.testing.assert_allclose(integrate.simpson(integrate.simpson(values, grid), grid), 1, 1e-4)


def test_draws_are_of_the_density(mixture):
    draws = np.asarray(mixture.samples(jax.random.key(0), 4000), np.float64)
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum()
    for d in range(2):
        marginal = stats.norm(MEAN[:, d], SIGMA[:, d])
        result = stats.kstest(draws[:, d], lambda v, m=marginal: m.cdf(v[:, None]) @ weights)
        assert result.pvalue > 0.01


def test_gradients(mixture):
    z = jnp.asarray([[0.3, -0.2], [4.0, 1.0]])
    check_grads(lambda m: m.log_prob(z), (mixture,), order=1, modes=["rev"], rtol=2e-2)


def test_far_codes_have_finite_gradients(mixture):
    z = jnp.asarray([[1e4, -1e4], [1e8, 0.0]])
    value, slope = jax.value_and_grad(lambda z: mixture.log_prob(z).sum())(z)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_the_vampprior_is_the_mean_of_its_posteriors():
    def encode(x):
        return DiagonalGaussian(2 * x, jnp.full_like(x, -1.0))

    pseudo_inputs = jnp.asarray(np.random.default_rng(1).uniform(size=(4, 2)))
    z = jnp.asarray(np.random.default_rng(2).normal(size=(5, 2)))
    got = vamp_prior(encode, pseudo_inputs).log_prob(z)
    of_each = stats.norm(2 * np.asarray(pseudo_inputs), np.exp(-1)).pdf(np.asarray(z)[:, None])
    np.testing.assert_allclose(got, np.log(of_each.prod(axis=-1).mean(axis=1)), rtol=1e-4)


def test_modules_hold_their_parameters():
    def encode(x):
        flat = x.reshape(len(x), -1)[:, :2]
        return DiagonalGaussian(flat, jnp.zeros_like(flat))

    mixture = MixturePrior(5, 2)
    params = mixture.init(jax.random.key(0), encode)["params"]
    assert jax.tree.map(jnp.shape, params) == {"mean": (5, 2), "log_sigma": (5, 2), "logits": (5,)}
    vamp = VampPrior(3, (4, 4, 1))
    variables = vamp.init(jax.random.key(0), encode)
    assert variables["params"]["pseudo_inputs"].shape == (3, 4, 4, 1)
    prior = vamp.apply(variables, encode)
    assert ((prior.components.mean > 0) & (prior.components.mean < 1)).all()
