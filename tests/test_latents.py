"""The reparameterised Gaussian and the mixture, against scipy and their own definitions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special, stats

from aejax.latents import (
    LOG_2PI,
    DiagonalGaussian,
    GaussianMixture,
    gaussian_ring,
    reparameterize,
    standard_normal,
)


@pytest.fixture
def gaussian():
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 3)), rng.normal(size=(5, 3)) * 0.5


def test_log_2pi():
    assert np.log(2 * np.pi) == LOG_2PI


def test_log_prob_equals_scipy(gaussian):
    mean, log_sigma = gaussian
    z = np.random.default_rng(1).normal(size=(5, 3)) * 3
    got = DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_sigma)).log_prob(jnp.asarray(z))
    chex.assert_shape(got, (5,))
    expected = stats.norm.logpdf(z, mean, np.exp(log_sigma)).sum(-1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_log_prob_keeps_every_leading_axis(gaussian):
    q = standard_normal((2, 5, 3))
    chex.assert_shape(q.log_prob(jnp.ones((2, 5, 3))), (2, 5))
    chex.assert_shape(standard_normal((3,)).log_prob(jnp.ones(3)), ())


def test_log_prob_of_several_draws_is_that_of_each(gaussian):
    q = DiagonalGaussian(*map(jnp.asarray, gaussian))
    z = q.samples(jax.random.key(0), 4)
    chex.assert_shape(z, (4, 5, 3))
    expected = stats.norm.logpdf(z, gaussian[0], np.exp(gaussian[1])).sum(-1)
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (5, 3)])
def test_the_kl_to_any_gaussian_is_the_closed_form(gaussian, shape):
    rng = np.random.default_rng(2)
    mean, log_sigma = gaussian
    prior_mean, prior_log_sigma = rng.normal(size=shape), 0.5 * rng.normal(size=shape)
    q = DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_sigma))
    prior = DiagonalGaussian(jnp.asarray(prior_mean), jnp.asarray(prior_log_sigma))
    ratio = np.exp(2 * (log_sigma - prior_log_sigma))
    apart = (mean - prior_mean) ** 2 / np.exp(2 * prior_log_sigma)
    expected = 0.5 * (ratio + apart - 1 - np.log(ratio))
    np.testing.assert_allclose(q.kl_per_dimension(prior), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(q.kl(prior), expected.sum(axis=-1), rtol=1e-4)


def test_a_kl_that_is_not_closed_is_one_line(gaussian):
    q = DiagonalGaussian(*map(jnp.asarray, gaussian))
    with pytest.raises(ValueError, match=r"the KL to a GaussianMixture is not closed: .* sampled"):
        q.kl(gaussian_ring())


def test_density_integrates_to_one_in_two_dimensions():
    q = DiagonalGaussian(jnp.array([0.3, -1.0]), jnp.log(jnp.array([0.5, 1.5])))
    grid = jnp.linspace(-14, 14, 801)
    z = jnp.stack(jnp.meshgrid(grid, grid), axis=-1)
    density = jnp.exp(jax.vmap(jax.vmap(q.log_prob))(z))
    np.testing.assert_allclose(jnp.sum(density) * (grid[1] - grid[0]) ** 2, 1, rtol=1e-4)


def test_standard_normal_is_the_prior():
    prior = standard_normal((4, 2))
    chex.assert_shape(list(prior), (4, 2))
    z = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    expected = stats.multivariate_normal.logpdf(z, np.zeros(2), np.eye(2))
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-5)


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1.0), (-3.0, 0.01), (2.0, 7.0)])
def test_draws_pass_kolmogorov_smirnov(mean, sigma):
    shape = (20_000, 1)
    z = reparameterize(jax.random.key(0), jnp.full(shape, mean), jnp.full(shape, np.log(sigma)))
    assert stats.kstest(np.ravel(z), stats.norm(mean, sigma).cdf).pvalue > 0.01


def test_draws_of_different_elements_are_independent():
    z = standard_normal((50_000, 3)).sample(jax.random.key(1))
    correlation = np.corrcoef(np.asarray(z), rowvar=False) - np.eye(3)
    assert np.abs(correlation).max() < 4 / np.sqrt(50_000)  # four standard errors
    rows = np.corrcoef(z[:-1, 0], z[1:, 0])[0, 1]
    assert abs(rows) < 4 / np.sqrt(50_000)


def test_a_key_fixes_the_draw(gaussian):
    q = DiagonalGaussian(*map(jnp.asarray, gaussian))
    draws = [q.sample(jax.random.key(seed)) for seed in (0, 0, 1)]
    chex.assert_equal_shape([*draws, q.mean])
    chex.assert_trees_all_equal(draws[0], draws[1])
    assert np.all(draws[0] != draws[2])


def test_sample_is_reparameterize(gaussian):
    mean, log_sigma = map(jnp.asarray, gaussian)
    sampled = DiagonalGaussian(mean, log_sigma).sample(jax.random.key(3))
    chex.assert_trees_all_equal(sampled, reparameterize(jax.random.key(3), mean, log_sigma))


def test_gradients_of_a_draw_are_one_and_the_deviation(gaussian):
    mean, log_sigma = map(jnp.asarray, gaussian)

    def draw(mean, log_sigma):
        return reparameterize(jax.random.key(5), mean, log_sigma)

    z = draw(mean, log_sigma)
    by_mean, by_log_sigma = jax.grad(lambda m, s: draw(m, s).sum(), (0, 1))(mean, log_sigma)
    np.testing.assert_allclose(by_mean, np.ones((5, 3)))
    np.testing.assert_allclose(by_log_sigma, z - mean, rtol=1e-4, atol=1e-6)


def test_check_grads(gaussian):
    with jax.enable_x64(True):
        mean, log_sigma = map(jnp.asarray, gaussian)
        check_grads(lambda m, s: reparameterize(jax.random.key(0), m, s), (mean, log_sigma), 2)
        z = jnp.ones((5, 3))
        check_grads(lambda m, s, z: DiagonalGaussian(m, s).log_prob(z), (mean, log_sigma, z), 2)


def test_jit_and_vmap_change_nothing(gaussian):
    q = DiagonalGaussian(*map(jnp.asarray, gaussian))
    z = jnp.full((5, 3), 0.7)
    expected = q.log_prob(z)
    log_prob = DiagonalGaussian.log_prob
    chex.assert_trees_all_close(jax.jit(log_prob)(q, z), expected, rtol=1e-6)
    chex.assert_trees_all_close(jax.vmap(log_prob)(q, z), expected, rtol=1e-6)
    eager = reparameterize(jax.random.key(0), *q)
    chex.assert_trees_all_close(jax.jit(reparameterize)(jax.random.key(0), *q), eager, rtol=1e-6)
    keys = jax.random.split(jax.random.key(0), 5)
    rows = jnp.stack([reparameterize(keys[i], q.mean[i], q.log_sigma[i]) for i in range(5)])
    keys = jax.random.split(jax.random.key(0), 5)
    chex.assert_trees_all_close(jax.vmap(reparameterize)(keys, *q), rows, rtol=1e-6)


def test_is_a_pytree_of_two_arrays():
    q = standard_normal((2, 3))
    assert len(jax.tree.leaves(q)) == 2
    assert isinstance(jax.tree.map(lambda a: a + 1, q), DiagonalGaussian)


def test_a_collapsed_posterior_returns_its_mean():
    mean = jnp.arange(6.0).reshape(2, 3)
    z = reparameterize(jax.random.key(0), mean, jnp.full((2, 3), -1e4))
    chex.assert_trees_all_equal(z, mean)


@pytest.mark.parametrize("shape", [(), (3,), (5, 1), (1, 5, 3)])
def test_differing_shapes_raise(shape):
    with pytest.raises(ValueError, match=r"mean \(5, 3\) and log_sigma"):
        reparameterize(jax.random.key(0), jnp.zeros((5, 3)), jnp.zeros(shape))


@pytest.fixture
def mixture():
    rng = np.random.default_rng(3)
    return GaussianMixture(jnp.asarray(rng.normal(size=(4, 3))), jnp.asarray(rng.random((4, 3, 3))))


def test_mixture_log_prob_equals_scipy(mixture):
    z = np.random.default_rng(4).normal(size=(6, 3))
    components = [
        stats.multivariate_normal(mean, factor @ factor.T)
        for mean, factor in zip(*map(np.asarray, mixture), strict=True)
    ]
    expected = special.logsumexp([c.logpdf(z) for c in components], axis=0) - np.log(4)
    np.testing.assert_allclose(mixture.log_prob(jnp.asarray(z)), expected, rtol=1e-3)


def test_mixture_log_prob_far_away_is_finite(mixture):
    value, gradient = jax.value_and_grad(lambda z: mixture.log_prob(z)[0])(jnp.full((1, 3), 1e3))
    chex.assert_tree_all_finite((value, gradient))


def test_draws_of_the_ring_follow_its_density():
    """Counts in squares of the plane against the density integrated over them."""
    ring, n = gaussian_ring(), 40_000
    edges = np.linspace(-8, 8, 17)
    counts, _, _ = np.histogram2d(*np.asarray(ring.samples(jax.random.key(0), n)).T, bins=edges)
    centres = np.linspace(-8, 8, 16 * 20, endpoint=False) + 8 / (16 * 20)
    z = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(np.asarray(ring.log_prob(jnp.asarray(z, jnp.float32))))
    share = density.reshape(16, 20, 16, 20).sum(axis=(1, 3)) * (16 / (16 * 20)) ** 2
    assert share.sum() == pytest.approx(1, abs=1e-3)
    often = share * n > 5
    scores = (counts - share * n)[often] ** 2 / (share * n)[often]
    assert stats.chi2(often.sum() - 1).sf(scores.sum()) > 0.01


def test_the_ring_is_longer_outwards():
    ring = gaussian_ring(5, radius=2.0, radial=0.5, tangential=0.1)
    np.testing.assert_allclose(np.linalg.norm(ring.mean, axis=1), 2, rtol=1e-6)
    for mean, factor in zip(*map(np.asarray, ring), strict=True):
        covariance, outwards = factor @ factor.T, mean / 2
        np.testing.assert_allclose(covariance @ outwards, 0.25 * outwards, atol=1e-6)
        np.testing.assert_allclose(np.trace(covariance), 0.25 + 0.01, rtol=1e-5)


def test_a_mixture_is_a_pytree_and_a_key_fixes_its_draws(mixture):
    assert len(jax.tree.leaves(mixture)) == 2
    draws = [mixture.samples(jax.random.key(seed), 5) for seed in (0, 0, 1)]
    chex.assert_shape(draws, (5, 3))
    chex.assert_trees_all_equal(draws[0], draws[1])
    assert np.all(draws[0] != draws[2])
    compiled = jax.jit(GaussianMixture.log_prob)(mixture, draws[2])
    chex.assert_trees_all_close(compiled, mixture.log_prob(draws[2]), rtol=1e-4)
