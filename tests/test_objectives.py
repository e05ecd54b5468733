"""Losses against hand-computed values and, for the ELBO, a model whose evidence is known."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax import objectives
from aejax.latents import DiagonalGaussian
from aejax.likelihoods import bernoulli_log_prob, gaussian, gaussian_log_prob
from aejax.objectives import batch_mean

STEP = 0


def test_batch_mean_without_a_mask():
    values = jnp.array([1.0, 2.0, 6.0])
    chex.assert_trees_all_equal(batch_mean(values), jnp.array(3.0))
    chex.assert_trees_all_equal(batch_mean(values, jnp.ones(3, bool)), jnp.array(3.0))


@pytest.mark.parametrize("filler", [0.0, 1e30, np.nan, np.inf])
def test_masked_rows_do_not_count(filler):
    values = jnp.array([1.0, filler, 5.0, filler])
    mask = jnp.array([True, False, True, False])
    for f in (batch_mean, jax.jit(batch_mean)):
        got = f(values, mask)
        chex.assert_shape(got, ())
        chex.assert_trees_all_equal(got, jnp.array(3.0))
    gradient = jax.grad(batch_mean)(values, mask)
    chex.assert_trees_all_equal(gradient, jnp.array([0.5, 0, 0.5, 0]))


def test_batch_mean_under_vmap_and_of_an_empty_mask():
    values, mask = jnp.arange(6.0).reshape(2, 3), jnp.array([[True, False, True], [False] * 3])
    chex.assert_trees_all_equal(jax.vmap(batch_mean)(values, mask), jnp.array([1.0, 0.0]))


def linear_model(rng, sigma_q=0.3):
    """A linear VAE with given noise, and the same written out with numpy and scipy."""
    down, up, noise = rng.normal(size=(6, 2)), rng.normal(size=(2, 6)), rng.normal(size=(4, 2))
    params = {"down": jnp.asarray(down), "up": jnp.asarray(up)}

    def apply_fn(variables, images, key):
        mean = images.reshape(4, 6) @ variables["params"]["down"]
        z = mean + sigma_q * jnp.asarray(noise)
        outputs = (z @ variables["params"]["up"]).reshape(images.shape)
        return outputs, DiagonalGaussian(mean, jnp.full((4, 2), np.log(sigma_q)))

    def by_hand(images):
        flat = images.reshape(4, 6)
        mean = flat @ down
        outputs = (mean + sigma_q * noise) @ up
        reconstruction = -stats.norm.logpdf(flat, outputs, 0.5).sum(1)
        kl = 0.5 * (sigma_q**2 + mean**2 - 1 - 2 * np.log(sigma_q)).sum(1)
        return reconstruction, kl

    return params, apply_fn, by_hand


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("mask", [None, [True, True, False, True]])
def test_vae_of_a_linear_model_by_hand(beta, mask):
    rng = np.random.default_rng(0)
    params, apply_fn, by_hand = linear_model(rng)
    images = rng.uniform(size=(4, 3, 2, 1))
    batch = {"x": jnp.asarray(images)}
    rows = slice(None)
    if mask is not None:
        batch["mask"], rows = jnp.array(mask), np.array(mask)
    loss_fn = objectives.vae(apply_fn, gaussian(0.5).log_prob, beta=beta)
    loss, (metrics, extra) = loss_fn(params, {}, batch, jax.random.key(0), STEP)
    reconstruction, kl = (part[rows].mean() for part in by_hand(images))
    chex.assert_shape([loss, *metrics.values()], ())
    assert set(metrics) == {"loss", "reconstruction", "kl", "elbo"}
    assert extra == {}
    np.testing.assert_allclose(metrics["reconstruction"], reconstruction, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], -(reconstruction + kl), rtol=1e-5)
    np.testing.assert_allclose(loss, reconstruction + beta * kl, rtol=1e-5)
    assert loss == metrics["loss"]


def exact_vae(sigma=0.6):
    """x = W z + b + sigma epsilon with orthogonal columns: its posterior is a diagonal Gaussian."""
    rng = np.random.default_rng(1)
    weights = np.linalg.qr(rng.normal(size=(5, 2)))[0] * [1.5, 0.7]
    bias = rng.normal(size=5)
    precision = (weights**2).sum(0) + sigma**2  # the diagonal of W'W + sigma^2 I
    evidence = stats.multivariate_normal(bias, weights @ weights.T + sigma**2 * np.eye(5))

    def apply_fn(variables, images, key):
        mean = (images - jnp.asarray(bias)[None]) @ jnp.asarray(weights / precision)
        log_sigma = jnp.broadcast_to(jnp.log(sigma / np.sqrt(precision))[None], mean.shape)
        posterior = DiagonalGaussian(mean, log_sigma)
        return posterior.sample(key) @ jnp.asarray(weights).T + jnp.asarray(bias)[None], posterior

    return apply_fn, evidence, jnp.log(sigma)


def test_elbo_at_the_exact_posterior_is_the_evidence():
    """Probabilistic PCA (Tipping & Bishop 1999); within four standard errors of the draws."""
    apply_fn, evidence, log_sigma = exact_vae()
    x = evidence.rvs(random_state=0)
    draws = jnp.tile(jnp.asarray(x)[None], (100_000, 1))

    def log_prob(outputs, images):
        return gaussian_log_prob(outputs, log_sigma, images)

    _, (metrics, _) = objectives.vae(apply_fn, log_prob)(
        {}, {}, {"x": draws}, jax.random.key(0), STEP
    )
    outputs, _ = apply_fn({}, draws, jax.random.key(0))
    error = float(jnp.std(log_prob(outputs, draws))) / np.sqrt(len(draws))
    assert error < 0.01
    assert abs(float(metrics["elbo"]) - evidence.logpdf(x)) < 4 * error


def test_elbo_is_below_the_evidence_at_another_posterior():
    apply_fn, evidence, log_sigma = exact_vae()
    x = jnp.asarray(evidence.rvs(20_000, random_state=1))

    def shifted(variables, images, key):
        _, posterior = apply_fn(variables, images, jax.random.key(7))
        moved = images + jnp.ones_like(images)
        return apply_fn(variables, moved, key)[0], posterior._replace(mean=posterior.mean + 0.5)

    loss_fn = objectives.vae(shifted, lambda o, i: gaussian_log_prob(o, log_sigma, i))
    _, (metrics, _) = loss_fn({}, {}, {"x": x}, jax.random.key(0), STEP)
    assert metrics["elbo"] < evidence.logpdf(np.asarray(x)).mean()


@pytest.mark.parametrize("mask", [None, [False, True, True]])
def test_autoencoder_is_the_cross_entropy(mask):
    rng = np.random.default_rng(0)
    images, logits = rng.uniform(size=(3, 4, 5, 2)), rng.normal(size=(3, 4, 5, 2))
    batch = {"x": jnp.asarray(images)} | ({} if mask is None else {"mask": jnp.array(mask)})
    loss_fn = objectives.autoencoder(lambda v, x: v["params"] + v["b"], bernoulli_log_prob)
    params, extra = jnp.asarray(logits) - 1, {"b": jnp.ones_like(logits)}
    loss, (metrics, out) = jax.jit(loss_fn)(params, extra, batch, jax.random.key(0), STEP)
    p = 1 / (1 + np.exp(-logits))
    per_row = -(images * np.log(p) + (1 - images) * np.log(1 - p)).sum((1, 2, 3))
    expected = per_row[slice(None) if mask is None else np.array(mask)].mean()
    np.testing.assert_allclose([loss, metrics["loss"], metrics["reconstruction"]], expected, 1e-5)
    np.testing.assert_allclose(metrics["reconstruction_per_pixel"], expected / 40, rtol=1e-5)
    chex.assert_trees_all_equal(out, extra)


def test_a_nan_image_in_a_masked_row_does_not_spread():
    images = jnp.stack([jnp.full((2, 2, 1), 0.5), jnp.full((2, 2, 1), jnp.nan)])
    batch = {"x": images, "mask": jnp.array([True, False])}
    loss_fn = objectives.autoencoder(lambda v, x: jnp.zeros_like(x), bernoulli_log_prob)
    loss, (metrics, _) = jax.jit(loss_fn)({}, {}, batch, jax.random.key(0), STEP)
    np.testing.assert_allclose(loss, 4 * np.log(2), rtol=1e-6)
    chex.assert_tree_all_finite(metrics)
