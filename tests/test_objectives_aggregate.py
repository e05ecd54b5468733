"""q(z) from a minibatch against all minibatches, and the objectives that charge it."""

import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_gaussian import LinearGaussian
from scipy import stats

from aejax import likelihoods
from aejax.aggregate_posterior import aggregate_log_probs
from aejax.data.dataset import Dataset
from aejax.latents import DiagonalGaussian, standard_normal
from aejax.models.decoding import log_prob
from aejax.objectives import BetaTcVae, InfoVae, Training, WaeMmd, make_loss
from aejax.training.loop import make_evaluate, make_source
from aejax.training.sharding import data_mesh
from aejax.training.state import TrainState
from aejax.training.step import make_eval_step

STEP = jnp.zeros((), jnp.int32)
RNG = np.random.default_rng(0)


def posteriors(count, dim=2):
    mean, log_sigma = RNG.normal(size=(count, dim)), 0.3 * RNG.normal(size=(count, dim))
    return DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_sigma))


def densities(z, posterior):
    """q(z|x) of one z under each posterior and dimension, `[N, D]`, by scipy."""
    return stats.norm(posterior.mean, np.exp(posterior.log_sigma)).pdf(np.asarray(z))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("dim", [1, 2])
def test_over_all_minibatches_the_densities_are_unbiased(dim, place):
    count, size = 5, 3
    every = posteriors(count, dim)
    z = every.sample(jax.random.key(0))
    got = []
    for others in itertools.permutations(range(1, count), size - 1):
        rows = jnp.array([*others[:place], 0, *others[place:]])
        batch = DiagonalGaussian(every.mean[rows], every.log_sigma[rows])
        joint, product = aggregate_log_probs(z[rows], batch, count)
        got.append((joint[place], product[place]))
    by_scipy = densities(z[0], every)
    np.testing.assert_allclose(np.exp([g[0] for g in got]).mean(), by_scipy.prod(1).mean(), 1e-5)
    if every.mean.shape[1] == 1:  # a product of several is not
        by_marginals = np.exp([g[1] for g in got]).mean()
        np.testing.assert_allclose(by_marginals, by_scipy.mean(), rtol=1e-5)


def test_with_all_images_at_equal_posteriors_it_is_exact():
    one = posteriors(1)
    same = DiagonalGaussian(*(jnp.tile(a, (6, 1)) for a in one))
    z = same.sample(jax.random.key(1))
    joint, product = aggregate_log_probs(z, same, 6)
    expected = one.log_prob(z)
    np.testing.assert_allclose(joint, expected, rtol=1e-5)
    np.testing.assert_allclose(product, expected, rtol=1e-5)


def test_rows_that_only_fill_the_batch_change_nothing():
    posterior = posteriors(4)
    z = posterior.sample(jax.random.key(2))
    plain = aggregate_log_probs(z, posterior, 100)
    padded = [jnp.concatenate([a, jnp.full((3, 2), jnp.inf)]) for a in (z, *posterior)]
    mask = jnp.arange(7) < 4
    got = aggregate_log_probs(padded[0], DiagonalGaussian(*padded[1:]), 100, mask)
    chex.assert_trees_all_close([a[:4] for a in got], list(plain), rtol=1e-6)


def test_bad_input_is_one_line():
    posterior = posteriors(4)
    with pytest.raises(ValueError, match="images 3 is less than the batch's 4"):
        aggregate_log_probs(posterior.mean, posterior, 3)
    with pytest.raises(ValueError, match=r"are not \[B, D\]"):
        aggregate_log_probs(posterior.mean[0], posterior, 10)


def evaluate(loss_fn, linear, batch):
    return loss_fn(linear.params, {}, batch, jax.random.key(3), STEP)


def test_the_tc_vaes_parts_sum_to_the_kl():
    linear = LinearGaussian(inflation=1.3)
    batch = {"x": linear.data(40)}
    training = Training(1, 1000, 40)
    loss_fn = make_loss(linear.model, BetaTcVae(beta=4.0).during(training))
    loss, (m, _) = jax.jit(lambda b: evaluate(loss_fn, linear, b))(batch)
    whole = m["mutual_information"] + m["total_correlation"] + m["dimension_kl"]
    np.testing.assert_allclose(whole, m["kl"], rtol=1e-5)
    expected = m["reconstruction"] + m["kl"] + 3 * m["total_correlation"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    plain, (m, _) = evaluate(
        make_loss(linear.model, BetaTcVae(beta=1.0).during(training)), linear, batch
    )
    np.testing.assert_allclose(plain, -m["elbo"], rtol=1e-5)


@pytest.mark.parametrize(("batch_size", "tolerance"), [(125, 0.15), (250, 0.06)])
def test_independent_latents_have_no_total_correlation_in_an_evaluation(batch_size, tolerance):
    """Pixels are the codes, each its own; the training set has 60 times the evaluated images.

    By the training set's number it is -0.35 with batches of 125, and -0.19 with 250.
    """
    sigma, dim = 0.3, 3
    normal = np.random.default_rng(1).normal(size=(1000, dim, 1, 1))
    pixels = np.clip(255 * (0.5 + normal / 8), 0, 255)
    data = Dataset({"x": pixels.astype(np.uint8), "label": np.zeros(1000, np.int32)})

    def posterior(variables, batch):
        mean = (batch["x"].reshape(-1, dim) - 0.5) * 8 * np.sqrt(1 - sigma**2)
        return DiagonalGaussian(mean, jnp.full_like(mean, np.log(sigma)))

    def decode(z):
        return jnp.zeros((len(z), dim, 1, 1))

    model = dataclasses.replace(
        LinearGaussian().model,
        posterior=posterior,
        log_likelihood=lambda v, b, z: log_prob(likelihoods.bernoulli(), decode, b["x"], z),
        prior=lambda variables, batch=None: standard_normal((dim,)),
    )
    loss_fn = make_loss(model, BetaTcVae(beta=6.0).during(Training(1, 60_000, batch_size)))
    mesh = data_mesh(1)
    evaluated = make_evaluate(
        make_eval_step(loss_fn),
        make_source(data, mesh, stream=False),
        batch_size=batch_size,
        mesh=mesh,
    )
    metrics = evaluated(TrainState.create({"w": STEP}, optax.set_to_zero(), jax.random.key(0)))
    assert abs(metrics["total_correlation"]) < tolerance
    assert metrics["mutual_information"] == pytest.approx(-dim * np.log(sigma), abs=0.2)


def test_the_info_vae_at_its_ends():
    linear = LinearGaussian(inflation=1.3)
    batch = {"x": linear.data(40)}
    vae = make_loss(linear.model, InfoVae(alpha=0.0, weight=1.0))
    loss, (m, _) = evaluate(vae, linear, batch)
    np.testing.assert_allclose(loss, -m["elbo"], rtol=1e-6)
    mmd_vae = make_loss(linear.model, InfoVae(alpha=1.0, weight=50.0))
    loss, (m, _) = evaluate(mmd_vae, linear, batch)
    np.testing.assert_allclose(loss, m["reconstruction"] + 50 * m["mmd"], rtol=1e-5)


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_the_wae_charges_codes_off_the_prior(shift):
    """At W of unit columns and no noise, codes of N(0, I) data are N(0, I) but for a shrinkage."""
    linear = LinearGaussian(sigma=0.1)
    x = linear.data(500) + shift * jnp.asarray(linear.w.sum(axis=1), jnp.float32)[None]
    _, (m, _) = evaluate(make_loss(linear.model, WaeMmd(weight=10.0)), linear, {"x": x})
    assert set(m) == {"loss", "reconstruction", "mmd"}
    assert (abs(m["mmd"]) < 0.02) if shift == 0 else (m["mmd"] > 0.2)
    np.testing.assert_allclose(m["loss"], m["reconstruction"] + 10 * m["mmd"], rtol=1e-5)


@pytest.mark.parametrize(
    "objective",
    [
        InfoVae(alpha=0.5, weight=9.0),
        WaeMmd(weight=9.0),
        BetaTcVae(beta=2.0).during(Training(1, 50, 7)),
    ],
)
def test_masked_rows_do_not_count_and_gradients_are_finite(objective):
    linear = LinearGaussian(inflation=1.3)
    x = jnp.concatenate([linear.data(5), jnp.full((2, 5), jnp.nan)])
    batch = {"x": x, "mask": jnp.arange(7) < 5}
    loss_fn = make_loss(linear.model, objective)
    _, (metrics, _) = evaluate(loss_fn, linear, batch)
    chex.assert_tree_all_finite(metrics)
    clean = {"x": jnp.where(jnp.isnan(x), 3.0, x), "mask": batch["mask"]}
    (loss, _), grads = jax.value_and_grad(
        lambda p: loss_fn(p, {}, clean, jax.random.key(3), STEP), has_aux=True
    )(linear.params)
    chex.assert_tree_all_finite(grads)
    np.testing.assert_allclose(loss, metrics["loss"], rtol=1e-5)
