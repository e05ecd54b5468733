"""Active units, mutual information and q(z) where they are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import LinearGaussian
from scipy import stats
from scipy.special import logsumexp

from aejax.divergences import gaussian_kl_per_dimension
from aejax.evaluation.mean import mean_and_error
from aejax.evaluation.posteriors import (
    active_units,
    aggregate_draws,
    aggregate_log_prob,
)
from aejax.latents import DiagonalGaussian, standard_normal

COUNT = 3000


@pytest.fixture(scope="module")
def linear():
    return LinearGaussian(latent=2, observed=5)


@pytest.fixture(scope="module")
def posterior(linear):
    return linear.encode(linear.params, linear.data(COUNT))


def test_the_parts_of_the_kl_are_the_closed_forms(posterior):
    """Of data that the model makes, q(z) is p(z), and I(x; z) = -sum of log sigma."""
    draws = aggregate_draws(posterior, standard_normal((2,)), jax.random.key(0), COUNT)
    information, error = mean_and_error(draws.mutual_information)
    expected = -float(posterior.log_sigma[0].sum())
    # The finite data set's q(z) is lumpy: information is lost to the marginal KL.
    assert abs(information - expected) < 4 * error + 0.02
    marginal, error = mean_and_error(draws.marginal_kl)
    assert abs(marginal) < 4 * error + 0.02
    both = draws.mutual_information + draws.marginal_kl
    kl = gaussian_kl_per_dimension(*posterior).sum(axis=-1)
    difference, error = mean_and_error(both - kl)
    assert abs(difference) < 4 * error


def test_kl_per_dimension_is_the_closed_form(posterior):
    variance = np.exp(2 * np.asarray(posterior.log_sigma[0]))
    got = gaussian_kl_per_dimension(*posterior).mean(axis=0)
    np.testing.assert_allclose(got, -0.5 * np.log(variance), rtol=0.05)


def test_a_marginal_away_from_the_prior_is_its_kl():
    """All posteriors one Gaussian: no information, and the KL in closed form."""
    mean, log_sigma = jnp.array([1.0, -0.5]), jnp.array([-0.7, 0.2])
    same = DiagonalGaussian(jnp.tile(mean[None], (2000, 1)), jnp.tile(log_sigma[None], (2000, 1)))
    draws = aggregate_draws(same, standard_normal((2,)), jax.random.key(1), 2000)
    np.testing.assert_allclose(draws.mutual_information, np.zeros(2000), atol=1e-4)
    marginal, error = mean_and_error(draws.marginal_kl)
    exact = float(gaussian_kl_per_dimension(*same)[0].sum())
    assert abs(marginal - exact) < 4 * error


def test_aggregate_log_prob_is_scipys(posterior):
    z = np.random.default_rng(0).normal(size=(7, 2))
    of_each = stats.norm(posterior.mean, np.exp(posterior.log_sigma)).logpdf(z[:, None]).sum(-1)
    got = aggregate_log_prob(jnp.asarray(z), posterior)
    np.testing.assert_allclose(got, logsumexp(of_each, axis=1) - np.log(COUNT), rtol=1e-4)


def test_a_unit_is_active_by_the_variance_of_its_mean():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(4000, 4)) * np.sqrt([1.0, 0.012, 0.008, 0.0])
    posterior = DiagonalGaussian(jnp.asarray(mean + 3), jnp.zeros_like(mean))
    np.testing.assert_array_equal(active_units(posterior), [True, True, False, False])


def test_bad_input_is_one_line(posterior):
    with pytest.raises(ValueError, match="draws 3001 is not within 1 and the 3000 images"):
        aggregate_draws(posterior, standard_normal((2,)), jax.random.key(0), COUNT + 1)
    with pytest.raises(ValueError, match="1 images have no variance"):
        active_units(DiagonalGaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2))))
