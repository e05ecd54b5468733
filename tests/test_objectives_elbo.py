"""KL charges, schedules, GECO and binary images, by hand."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_gaussian import LinearGaussian
from scipy import stats

from aejax import objectives, schedules
from aejax.dequantization import dequantize
from aejax.divergences import gaussian_kl
from aejax.metrics import bits_per_dim
from aejax.objectives import (
    Capacity,
    Cyclical,
    Elbo,
    FreeBits,
    Geco,
    Objective,
    Training,
    WarmUp,
    make_loss,
)

STEP = jnp.zeros((), jnp.int32)
KL = jnp.array([0.2, 1.5, 3.0])


@pytest.mark.parametrize(
    ("objective", "step", "expected"),
    [
        (Capacity(gamma=10.0, nats=8.0, rise=0.5), 4, 33.0),
        (Capacity(gamma=10.0, nats=8.0, rise=0.5), 2, 7.0),
        (Capacity(gamma=10.0, nats=8.0, rise=0.5), 0, 47.0),
        (FreeBits(nats=0.5), 0, 5.0),
        (FreeBits(nats=4.0, per="image"), 0, 4.7),
        (FreeBits(nats=6.0, per="image"), 0, 6.0),
    ],
)
def test_a_charge_by_hand(objective, step, expected):
    charge = jax.jit(objective.during(Training(8, 100, 10)).charge)
    np.testing.assert_allclose(charge(KL, step), expected, rtol=1e-5)


def test_bits_that_are_free_have_no_gradient():
    slope = jax.grad(lambda kl: FreeBits(nats=0.5).charge(kl, STEP))(KL)
    np.testing.assert_array_equal(slope, [0, 1, 1])
    slope = jax.grad(lambda kl: FreeBits(nats=6.0, per="image").charge(kl, STEP))(KL)
    np.testing.assert_array_equal(slope, [0, 0, 0])


def test_cycles_rise_and_stay():
    beta = schedules.cyclical(4.0, steps=100, cycles=2, rising=0.5)
    got = [float(beta(jnp.asarray(s))) for s in (0, 5, 25, 40, 50, 60, 75, 99, 100, 1000)]
    np.testing.assert_allclose(got, [0, 0.8, 4, 4, 0, 1.6, 4, 4, 4, 4], rtol=1e-5)
    with pytest.raises(ValueError, match="5 cycles do not fit into 4 steps"):
        schedules.cyclical(1.0, 4, 5)
    with pytest.raises(ValueError, match=r"rising 0\.0"):
        schedules.cyclical(1.0, 4, 2, 0.0)


@pytest.mark.parametrize(
    ("objective", "weights"),
    [
        (Elbo(beta=3.0), {0: 3.0, 10: 3.0}),
        (WarmUp(beta=2.0, rise=0.25), {0: 0.0, 5: 1.0, 10: 2.0, 30: 2.0}),
        (Cyclical(beta=4.0, cycles=2, rise=0.5), {0: 0.0, 5: 2.0, 15: 4.0, 20: 0.0, 25: 2.0}),
    ],
)
def test_a_schedule_reads_the_step(objective, weights):
    linear = LinearGaussian()
    batch = {"x": linear.data(6)}
    loss_fn = make_loss(linear.model, objective.during(Training(40, 100, 6)))
    for step, weight in weights.items():
        loss, (metrics, _) = loss_fn(linear.params, {}, batch, jax.random.key(0), step)
        expected = metrics["reconstruction"] + weight * metrics["kl"]
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
    kl = gaussian_kl(*linear.encode(linear.params, batch["x"])).mean()
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)


def test_gecos_first_steps_by_hand():
    linear = LinearGaussian()
    batch = {"x": linear.data(6)}
    objective = Geco(tolerance=3.0, rate=0.1)
    loss_fn, extra = make_loss(linear.model, objective), objective.collections()
    logs = [0.0]
    average = 0.0
    for step in range(1, 4):
        key = jax.random.key(step)
        loss, (metrics, extra) = loss_fn(linear.params, extra, batch, key, STEP)
        constraint = float(metrics["reconstruction"]) - 3.0
        np.testing.assert_allclose(loss, metrics["kl"] + np.exp(logs[-1]) * constraint, rtol=1e-5)
        average = 0.99 * average + 0.01 * constraint
        logs.append(logs[-1] + 0.1 * average / (1 - 0.99**step))
        np.testing.assert_allclose(extra["geco"]["log_multiplier"], logs[-1], rtol=1e-4)


def test_geco_ends_at_its_tolerance():
    """Codes of a linear model whose noise is learned: the error comes to what was asked."""
    linear = LinearGaussian()
    x = linear.data(200)

    def posterior(variables, batch):
        exact = linear.encode(linear.params, batch["x"])
        return exact._replace(log_sigma=exact.log_sigma + variables["params"]["log_scale"])

    def log_likelihood(variables, batch, z):
        return linear.model.log_likelihood(linear.variables, batch, z)

    tolerance = 6.0
    objective = Geco(tolerance=tolerance, rate=0.02)
    model = dataclasses.replace(linear.model, posterior=posterior, log_likelihood=log_likelihood)
    loss_fn = make_loss(model, objective)
    optimizer = optax.adam(0.02)

    def step(carry, key):
        params, opt_state, extra = carry
        grad = jax.grad(loss_fn, has_aux=True)
        grads, (metrics, extra) = grad(params, extra, {"x": x}, key, STEP)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state, extra), metrics

    params = {"log_scale": jnp.zeros(())}
    start = params, optimizer.init(params), objective.collections()
    keys = jax.random.split(jax.random.key(0), 1500)
    _, metrics = jax.jit(lambda s: jax.lax.scan(step, s, keys))(start)
    reconstruction = metrics["reconstruction"]
    assert abs(float(reconstruction[:50].mean()) - tolerance) > 0.5
    assert abs(float(reconstruction[-300:].mean()) - tolerance) < 0.1


class Seen(Objective):
    """The batch itself for terms."""

    def terms(self, model, batch, key, step):
        return batch


def test_binary_images_are_drawn_with_the_pixels_chances():
    binarized = objectives.dynamically_binarized(Seen())
    image = jnp.broadcast_to(jnp.array([0.0, 0.3, 1.0]).reshape(1, 3, 1, 1), (20_000, 3, 1, 1))
    batch = {"x": image, "label": jnp.zeros(20_000)}
    drawn = binarized.terms(None, batch, jax.random.key(0), STEP)
    assert set(np.unique(drawn["x"])) == {0.0, 1.0}
    np.testing.assert_allclose(drawn["x"].mean(axis=(0, 2, 3)), [0, 0.3, 1], atol=0.015)
    same = binarized.terms(None, drawn, jax.random.key(1), STEP)
    chex.assert_trees_all_equal(same["x"], drawn["x"])
    other = binarized.terms(None, batch, jax.random.key(2), STEP)
    assert (other["x"] != drawn["x"]).any()


def test_dequantized_pixels_are_uniform_within_their_levels():
    """All of [0, 1] is filled, evenly, where all levels are equally frequent."""
    image = jnp.repeat(jnp.arange(256) / 255, 400).reshape(-1, 4, 4, 1)
    drawn = np.asarray(dequantize(jax.random.key(0), image)).ravel()
    within = 256.0 * drawn - np.repeat(np.arange(256), 400)
    assert within.min() >= 0
    assert within.max() <= 1 + 1e-4  # float32's rounding
    assert stats.kstest(drawn, "uniform").pvalue > 0.01


def bits_of_a_loss(log_density, level, draws=200_000):
    """Of the `dequantized` loss of a pixel whose level is known."""
    batch = {"x": jnp.full((draws, 1, 1, 1), level / 255)}
    drawn = objectives.dequantized(Seen()).terms(None, batch, jax.random.key(0), STEP)["x"]
    loss = -jnp.mean(log_density(drawn))
    return float(bits_per_dim(loss, 1)) + 8


def test_a_density_that_is_flat_within_levels_has_the_bits_of_its_probabilities():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(256))
    flat = jnp.asarray(np.log(256 * probabilities))
    for level in (0, 77, 255):
        bits = bits_of_a_loss(lambda v: flat[jnp.floor(256 * v).astype(int)], level, 100)
        assert bits == pytest.approx(-np.log2(probabilities[level]), rel=1e-5)


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.3])
def test_a_densitys_bits_are_an_upper_bound_of_its_levels_bits(sigma):
    """Of a Gaussian, whose integral over a level is a difference of its CDF; tight if wide."""
    normal = stats.norm(100.3 / 256, sigma)
    exact = -np.log2(normal.cdf(101 / 256) - normal.cdf(100 / 256))

    def log_density(v):
        return -0.5 * ((v - 100.3 / 256) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)

    bits = bits_of_a_loss(log_density, 100)
    assert exact - 1e-3 < bits < exact + 0.7 * (0.004 / sigma) ** 2 + 1e-3
