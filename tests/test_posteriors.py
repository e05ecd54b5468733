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
    aggregate_bounds,
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


@pytest.fixture(scope="module")
def bounds(posterior):
    return aggregate_bounds(posterior, standard_normal((2,)), jax.random.key(0), 1000)


def means_and_errors(bounds):
    return {name: mean_and_error(values) for name, values in bounds._asdict().items()}


def test_where_images_are_many_the_bounds_meet_at_the_closed_forms(posterior, bounds):
    """Of data that the model makes, q(z) is p(z), and I(x; z) = -sum of log sigma."""
    found = means_and_errors(bounds)
    information = -float(posterior.log_sigma[0].sum())
    for kind, exact in (("information", information), ("marginal_kl", 0.0)):
        for end in ("lower", "upper"):
            mean, error = found[f"{kind}_{end}"]
            assert abs(mean - exact) < 4 * error + 0.02
        assert found[f"{kind}_lower"].mean < found[f"{kind}_upper"].mean


@pytest.mark.parametrize("count", [50, 1000])
@pytest.mark.parametrize("sigma", [0.6, 0.02], ids=["few-nats", "more-than-log-N"])
def test_the_bounds_bracket_the_closed_forms(count, sigma):
    """At sigma 0.02 the information is 15.9 nats, and log 1000 only 6.9."""
    linear = LinearGaussian(latent=4, observed=6, sigma=sigma)
    posterior = linear.encode(linear.params, linear.data(count))
    information = -float(posterior.log_sigma[0].sum())
    draws = min(count, 400)
    bounds = aggregate_bounds(posterior, standard_normal((4,)), jax.random.key(0), draws)
    found = means_and_errors(bounds)
    for kind, exact in (("information", information), ("marginal_kl", 0.0)):
        lower, upper = (found[f"{kind}_{end}"] for end in ("lower", "upper"))
        assert lower.mean - 4 * lower.error < exact < upper.mean + 4 * upper.error
    assert np.all(bounds.information_lower <= np.log(count) + 1e-4)
    if sigma == 0.02:
        assert information > np.log(count) + 5
        assert found["information_upper"].mean > information
        assert found["marginal_kl_lower"].mean < 0 < found["marginal_kl_upper"].mean - 5


def test_either_pair_of_bounds_adds_up_to_the_mean_kl(posterior, bounds):
    kl = gaussian_kl_per_dimension(*posterior).sum(axis=-1)[:1000]
    for information, rest in (("lower", "upper"), ("upper", "lower")):
        both = getattr(bounds, f"information_{information}") + getattr(
            bounds, f"marginal_kl_{rest}"
        )
        difference, error = mean_and_error(both - kl)
        assert abs(difference) < 4 * error


def test_the_bounds_are_scipys(posterior):
    """Every pair by scipy, of a few images."""
    few = DiagonalGaussian(*(a[:9] for a in posterior))
    key = jax.random.key(3)
    bounds = aggregate_bounds(few, standard_normal((2,)), key, 6)
    with jax.debug_key_reuse(False):
        z = np.asarray(DiagonalGaussian(*(a[:6] for a in few)).sample(key))
    of_each = stats.norm(few.mean, np.exp(few.log_sigma)).logpdf(z[:, None]).sum(-1)
    own = of_each[np.arange(6), np.arange(6)]
    others = np.array([logsumexp(np.delete(row, i)) for i, row in enumerate(of_each)])
    prior = stats.norm().logpdf(z).sum(-1)
    expected = own - logsumexp(of_each, axis=1) + np.log(9), own - others + np.log(8)
    np.testing.assert_allclose(bounds.information_lower, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bounds.information_upper, expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        bounds.marginal_kl_lower, own - prior - expected[1], rtol=1e-4, atol=1e-5
    )


def test_kl_per_dimension_is_the_closed_form(posterior):
    variance = np.exp(2 * np.asarray(posterior.log_sigma[0]))
    got = gaussian_kl_per_dimension(*posterior).mean(axis=0)
    np.testing.assert_allclose(got, -0.5 * np.log(variance), rtol=0.05)


def test_a_marginal_away_from_the_prior_is_its_kl():
    """All posteriors one Gaussian: no information, and the KL in closed form."""
    mean, log_sigma = jnp.array([1.0, -0.5]), jnp.array([-0.7, 0.2])
    same = DiagonalGaussian(jnp.tile(mean[None], (500, 1)), jnp.tile(log_sigma[None], (500, 1)))
    bounds = aggregate_bounds(same, standard_normal((2,)), jax.random.key(1), 500)
    exact = float(gaussian_kl_per_dimension(*same)[0].sum())
    for end in ("lower", "upper"):
        np.testing.assert_allclose(getattr(bounds, f"information_{end}"), np.zeros(500), atol=1e-4)
        marginal, error = mean_and_error(getattr(bounds, f"marginal_kl_{end}"))
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
        aggregate_bounds(posterior, standard_normal((2,)), jax.random.key(0), COUNT + 1)
    one = DiagonalGaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match="1 images leave no other image"):
        aggregate_bounds(one, standard_normal((2,)), jax.random.key(0), 1)
    with pytest.raises(ValueError, match="1 images have no variance"):
        active_units(one)
