"""Losses against hand-computed values and, for the ELBO, a model whose evidence is known."""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import LinearGaussian
from scipy import stats

from aejax import models, nets, objectives
from aejax.latents import DiagonalGaussian
from aejax.likelihoods import bernoulli, bernoulli_log_prob, gaussian
from aejax.models.decoding import log_prob
from aejax.objectives import Elbo, Reconstruction, batch_mean, make_loss

STEP = jnp.zeros((), jnp.int32)
LINEAR = LinearGaussian()


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


def test_batch_mean_keeps_further_axes_and_what_is_of_the_batch_already():
    values, mask = jnp.arange(6.0).reshape(3, 2), jnp.array([True, False, True])
    chex.assert_trees_all_equal(batch_mean(values, mask), jnp.array([2.0, 3.0]))
    chex.assert_trees_all_equal(batch_mean(jnp.array(7.0), mask), jnp.array(7.0))


def linear_model(rng, sigma_q=0.3):
    """A linear VAE with given noise, and the same written out with numpy and scipy."""
    down, up, noise = rng.normal(size=(6, 2)), rng.normal(size=(2, 6)), rng.normal(size=(4, 2))
    params = {"down": jnp.asarray(down), "up": jnp.asarray(up)}

    class Given(DiagonalGaussian):
        def sample(self, key):
            return self.mean + sigma_q * jnp.asarray(noise)

    def posterior(variables, batch):
        mean = batch["x"].reshape(4, 6) @ variables["params"]["down"]
        return Given(mean, jnp.full((4, 2), np.log(sigma_q)))

    def log_likelihood(variables, batch, z):
        def decode(z):
            return (z @ variables["params"]["up"]).reshape(batch["x"].shape)

        return log_prob(gaussian(0.5), decode, batch["x"], z)

    def by_hand(images):
        flat = images.reshape(4, 6)
        mean = flat @ down
        outputs = (mean + sigma_q * noise) @ up
        reconstruction = -stats.norm.logpdf(flat, outputs, 0.5).sum(1)
        kl = 0.5 * (sigma_q**2 + mean**2 - 1 - 2 * np.log(sigma_q)).sum(1)
        return reconstruction, kl

    model = dataclasses.replace(
        LINEAR.model, posterior=posterior, log_likelihood=log_likelihood, likelihood=gaussian(0.5)
    )
    return params, model, by_hand


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("mask", [None, [True, True, False, True]])
def test_elbo_of_a_linear_model_by_hand(beta, mask):
    rng = np.random.default_rng(0)
    params, model, by_hand = linear_model(rng)
    images = rng.uniform(size=(4, 3, 2, 1))
    batch = {"x": jnp.asarray(images)}
    rows = slice(None)
    if mask is not None:
        batch["mask"], rows = jnp.array(mask), np.array(mask)
    loss_fn = make_loss(model, Elbo(beta=beta))
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


def test_elbo_of_a_flax_vae_is_the_formula():
    """The modules applied one by one, the formula in numpy."""
    encoder, decoder = nets.mlp_pair((3, 2, 1), (5,))
    model = models.vae(encoder, decoder, 2, bernoulli())
    x = np.random.default_rng(0).uniform(size=(4, 3, 2, 1)).astype(np.float32)
    params = jax.jit(model.init)(jax.random.key(0), {"x": x})["params"]
    loss_fn = jax.jit(make_loss(model, Elbo(beta=3.0)))
    loss, (metrics, extra) = loss_fn(params, {}, {"x": jnp.asarray(x)}, jax.random.key(1), STEP)
    features = encoder.apply({"params": params["encoder"]}, x)
    mean, log_sigma = (
        np.asarray(nn.Dense(2).apply({"params": params[name]}, features))
        for name in ("mean", "log_sigma")
    )
    z = mean + np.exp(log_sigma) * np.asarray(jax.random.normal(jax.random.key(1), (4, 2)))
    p = 1 / (1 + np.exp(-np.asarray(decoder.apply({"params": params["decoder"]}, z))))
    likelihood = np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=(1, 2, 3)).mean()
    kl = 0.5 * np.sum(mean**2 + np.exp(2 * log_sigma) - 1 - 2 * log_sigma, axis=-1).mean()
    np.testing.assert_allclose(loss, 3 * kl - likelihood, rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], likelihood - kl, rtol=1e-5)
    assert extra == {}


def test_elbo_at_the_exact_posterior_is_the_evidence():
    """Probabilistic PCA (Tipping & Bishop 1999); within four standard errors of the draws."""
    batch = {"x": jnp.tile(LINEAR.data(1), (100_000, 1))}
    loss_fn = make_loss(LINEAR.model, Elbo())
    _, (metrics, _) = loss_fn(LINEAR.params, {}, batch, jax.random.key(0), STEP)
    bound = LINEAR.model.bind(LINEAR.variables)
    z = bound.posterior(batch).sample(jax.random.key(0))
    error = float(jnp.std(bound.log_likelihood(batch, z))) / np.sqrt(100_000)
    assert error < 0.01
    assert abs(float(metrics["elbo"]) - float(LINEAR.log_marginal(batch["x"][0]))) < 4 * error


def test_elbo_at_another_posterior_is_below_the_evidence_by_the_divergence():
    x = LINEAR.data(20_000)
    exact = LINEAR.encode(LINEAR.params, x)

    def shifted(variables, batch):
        return DiagonalGaussian(exact.mean + 0.5, exact.log_sigma)

    loss_fn = make_loss(dataclasses.replace(LINEAR.model, posterior=shifted), Elbo())
    _, (metrics, _) = loss_fn(LINEAR.params, {}, {"x": x}, jax.random.key(0), STEP)
    divergence = 0.5 * np.sum(0.25 / np.exp(2 * np.asarray(exact.log_sigma[0])))
    expected = LINEAR.log_marginal(x).mean() - divergence
    np.testing.assert_allclose(metrics["elbo"], expected, atol=0.1)


@pytest.mark.parametrize("mask", [None, [False, True, True]])
def test_reconstruction_is_the_cross_entropy(mask):
    rng = np.random.default_rng(0)
    images, logits = rng.uniform(size=(3, 4, 5, 2)), rng.normal(size=(3, 4, 5, 2))
    batch = {"x": jnp.asarray(images)} | ({} if mask is None else {"mask": jnp.array(mask)})
    model = dataclasses.replace(
        LINEAR.model,
        posterior=lambda v, batch: models.Point(jnp.zeros((3, 1))),
        log_likelihood=lambda v, batch, z: bernoulli_log_prob(v["params"] + v["b"], batch["x"]),
    )
    params, extra = jnp.asarray(logits) - 1, {"b": jnp.ones_like(logits)}
    loss_fn = jax.jit(make_loss(model, Reconstruction()))
    loss, (metrics, out) = loss_fn(params, extra, batch, jax.random.key(0), STEP)
    p = 1 / (1 + np.exp(-logits))
    per_row = -(images * np.log(p) + (1 - images) * np.log(1 - p)).sum((1, 2, 3))
    expected = per_row[slice(None) if mask is None else np.array(mask)].mean()
    np.testing.assert_allclose([loss, metrics["loss"], metrics["reconstruction"]], expected, 1e-5)
    np.testing.assert_allclose(metrics["reconstruction_per_pixel"], expected / 40, rtol=1e-5)
    chex.assert_trees_all_equal(out, extra)


def test_what_is_corrupted_is_encoded_and_not_what_is_restored():
    batch = {"x": LINEAR.data(6)}
    loss_fn = make_loss(LINEAR.model, Reconstruction(corrupt=lambda key, x: -x))
    loss, _ = loss_fn(LINEAR.params, {}, batch, jax.random.key(0), STEP)
    code = np.asarray(LINEAR.encode(LINEAR.params, -batch["x"]).mean)
    restored = code @ LINEAR.w.T + LINEAR.b
    expected = -stats.norm.logpdf(np.asarray(batch["x"]), restored, LINEAR.sigma).sum(axis=-1)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["autoencoder", "vae"])
def test_a_nan_example_in_a_masked_row_does_not_spread(kind):
    pair = nets.mlp_pair((2, 2, 1), (3,))
    model, objective = {
        "autoencoder": (models.autoencoder(*pair, bernoulli(), 2), Reconstruction()),
        "vae": (models.vae(*pair, 2, bernoulli()), Elbo()),
    }[kind]
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 2, 2, 1)), jnp.float32)
    params = model.init(jax.random.key(0), {"x": x})["params"]
    loss_fn = jax.jit(make_loss(model, objective))
    found = [
        loss_fn(params, {}, batch, jax.random.key(1), STEP)
        for batch in (
            {"x": x.at[1].set(jnp.nan), "mask": jnp.array([True, False, True])},
            {"x": x.at[1].set(0.3), "mask": jnp.array([True, False, True])},
        )
    ]
    chex.assert_tree_all_finite(found[0])
    chex.assert_trees_all_equal(*found)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("elbo", {"beta": -1.0}, "--beta -1.0 is not a number at least 0"),
        ("elbo", {"beta": float("inf")}, "--beta inf is not"),
        ("sampled", {"samples": 0}, "--samples 0 is not positive"),
        ("iwae", {"samples": -1}, "--samples -1 is not positive"),
        ("miwae", {"groups": 7}, "--groups 7 does not divide --samples 64"),
        ("piwae", {"groups": 0}, "--groups 0 is not positive"),
        ("ciwae", {"mix": 2.0}, "--mix 2.0 is not a number at least 0 and at most 1"),
        ("warm_up", {"rise": 0.0}, "--rise 0.0 is not a number above 0 and at most 1"),
        ("cyclical", {"cycles": 0}, "--cycles 0 is not positive"),
        ("capacity", {"nats": -1.0}, "--nats -1.0"),
        ("renyi", {"alpha": float("nan")}, "--alpha nan is not finite"),
        ("info_vae", {"alpha": 1.5}, "--alpha 1.5 is not within"),
        ("geco", {"tolerance": float("nan")}, "--tolerance nan is not finite"),
    ],
)
def test_a_hyperparameter_out_of_range_is_one_line_with_its_flag(name, fields, message):
    with pytest.raises(ValueError, match=message) as error:
        objectives.OBJECTIVES[name](**fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["warm_up", "cyclical", "capacity", "beta_tcvae"])
def test_what_depends_on_the_training_asks_for_it(name):
    loss_fn = make_loss(LINEAR.model, objectives.OBJECTIVES[name]())
    with pytest.raises(ValueError, match=rf"{name} depends on .*: give \.during\(...\)"):
        loss_fn(LINEAR.params, {}, {"x": LINEAR.data(3)}, jax.random.key(0), STEP)
