"""Importance-weighted objectives on a model of which log p(x) and the posterior are known."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import LinearGaussian

from aejax import bounds, models, nets
from aejax.latents import DiagonalGaussian
from aejax.likelihoods import bernoulli
from aejax.objectives import Iwae, Miwae, Piwae, Sampled, make_loss

STEP = jnp.zeros((), jnp.int32)


class Learned(LinearGaussian):
    """The same with q's mean shifted and its scale multiplied by parameters of their own."""

    def __init__(self, shift=0.0, log_scale=0.0):
        super().__init__()
        self.params |= {"shift": jnp.full(2, shift), "log_scale": jnp.full(2, log_scale)}

    def encode(self, params, x):
        held = jax.lax.stop_gradient({k: params[k] for k in ("w", "b")})
        mean, log_sigma = super().encode(held, x)
        return DiagonalGaussian(mean + params["shift"][None], log_sigma + params["log_scale"][None])


def gradients(loss_fn, params, x, draws, seed=0):
    """Gradients over many draws, `[draws, ...]`."""
    keys = jax.random.split(jax.random.key(seed), draws)
    gradient = jax.grad(lambda p, key: loss_fn(p, {}, {"x": x}, key, STEP)[0])
    return jax.jit(jax.vmap(gradient, in_axes=(None, 0)))(params, keys)


def standard_error(draws):
    return np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))


def within_errors(got, expected, error=0.0):
    """Whether the mean over the draws is `expected`, known to within `error`."""
    off = np.abs(np.mean(got, axis=0) - expected)
    np.testing.assert_array_less(off, 4.5 * np.hypot(standard_error(got), error) + 1e-7)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    "build",
    [
        Iwae,
        partial(Sampled, gradient="landing"),
        partial(Iwae, gradient="double"),
        partial(Piwae, groups=1),
    ],
)
def test_at_the_posterior_every_bound_is_log_p(build, samples):
    exact = LinearGaussian()
    x = exact.data(50)
    loss, (metrics, extra) = make_loss(exact.model, build(samples=samples))(
        exact.params, {}, {"x": x}, jax.random.key(0), STEP
    )
    expected = exact.log_marginal(x).mean()
    for got in (-loss, metrics["elbo"], metrics["iwae"]):
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(-metrics["elbo"], metrics["reconstruction"] + metrics["kl"], 1e-5)
    assert extra == {}


def test_the_bound_rises_with_k_to_log_p():
    wrong = LinearGaussian(inflation=1.6)
    x = wrong.data(2000)
    losses = []
    for samples in (1, 5, 50, 500):
        loss_fn = make_loss(wrong.model, Iwae(samples=samples))
        loss, (metrics, _) = jax.jit(loss_fn)(wrong.params, {}, {"x": x}, jax.random.key(1), STEP)
        losses.append(float(loss))
    exact = -wrong.log_marginal(x).mean()
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > exact + 0.3
    np.testing.assert_allclose(losses[-1], exact, atol=5e-3)
    np.testing.assert_allclose(-metrics["elbo"], losses[0], atol=0.05)


def test_sticking_the_landing_has_the_elbos_gradient():
    learned = Learned(shift=0.3, log_scale=0.2)
    x = learned.data(5)
    plain = make_loss(learned.model, Sampled())
    landed = make_loss(learned.model, Sampled(gradient="landing"))
    # Closed form: minus the ELBO is a constant and KL(q || posterior) = sum of
    # (shift^2 / variance + exp(2 log_scale) - 1) / 2 - log_scale.
    posterior = LinearGaussian().encode(learned.params, x)
    variance = np.exp(2 * np.asarray(posterior.log_sigma[0]))
    expected = {"shift": 0.3 / variance, "log_scale": np.full(2, np.exp(0.4) - 1)}
    for loss_fn in (plain, landed):
        got = gradients(loss_fn, learned.params, x, 20_000)
        for name, value in expected.items():
            within_errors(got[name], value)


@pytest.mark.parametrize("samples", [1, 4])
def test_at_the_posterior_two_estimators_have_no_variance_and_the_plain_one_has(samples):
    learned = Learned()
    x = learned.data(3)
    by = {
        "plain": Iwae(samples=samples),
        "landing": Sampled(samples=samples, gradient="landing"),
        "double": Iwae(samples=samples, gradient="double"),
    }
    by = {name: make_loss(learned.model, objective) for name, objective in by.items()}
    spread = {k: gradients(f, learned.params, x, 200)["shift"].std() for k, f in by.items()}
    assert spread["landing"] < 1e-5
    assert spread["double"] < 1e-5
    assert spread["plain"] > 1e-2


def test_the_doubly_reparameterized_gradient_is_that_of_the_bound():
    learned = Learned(shift=0.5, log_scale=0.3)
    x, samples = learned.data(1), 3
    plain = make_loss(learned.model, Iwae(samples=samples))
    double = make_loss(learned.model, Iwae(samples=samples, gradient="double"))

    @jax.jit
    def mean_loss(params):
        keys = jax.random.split(jax.random.key(2), 60_000)
        return jax.vmap(lambda k: plain(params, {}, {"x": x}, k, STEP)[0])(keys).mean()

    by_plain = gradients(plain, learned.params, x, 60_000)
    by_double = gradients(double, learned.params, x, 60_000, seed=3)
    for name in ("shift", "log_scale"):
        ends = [
            mean_loss(learned.params | {name: learned.params[name].at[0].add(s * 0.01)})
            for s in (1, -1)
        ]
        error = standard_error(by_plain[name])  # and that of its finite difference, at one draw
        within_errors(by_double[name][:, 0], float(ends[0] - ends[1]) / 0.02, error[0])
        within_errors(by_double[name], np.mean(by_plain[name], axis=0), error)
        assert (by_double[name].std(0) < by_plain[name].std(0)).all()


def test_its_signal_does_not_drown_as_k_grows():
    """Tucker et al. 2019: signal to noise falls as 1 / sqrt(K) or rises as sqrt(K)."""
    learned = Learned(shift=0.1)
    x = learned.data(1)

    def signal_to_noise(gradient, samples):
        loss_fn = make_loss(learned.model, Iwae(samples=samples, gradient=gradient))
        got = gradients(loss_fn, learned.params, x, 4000)["shift"][:, 0]
        return float(abs(got.mean()) / got.std())

    few, many = 2, 128
    assert signal_to_noise("plain", many) < 0.5 * signal_to_noise("plain", few)
    assert signal_to_noise("double", many) > 2 * signal_to_noise("double", few)


def test_the_generative_gradient_is_the_bounds_own():
    learned = Learned(shift=0.5)
    x = learned.data(4)
    by = {
        "plain": Iwae(samples=6),
        "double": Iwae(samples=6, gradient="double"),
        "pi": Piwae(samples=6, groups=3),
        "mi": Miwae(samples=6, groups=3),
    }
    one = {
        k: jax.tree.map(
            lambda g: g[0], gradients(make_loss(learned.model, o), learned.params, x, 1)
        )
        for k, o in by.items()
    }
    for name in ("w", "b"):
        chex.assert_trees_all_close(one["double"][name], one["plain"][name], rtol=1e-4)
        chex.assert_trees_all_close(one["pi"][name], one["plain"][name], rtol=1e-4)
    for name in ("shift", "log_scale"):
        chex.assert_trees_all_close(one["pi"][name], one["mi"][name], rtol=1e-4, atol=1e-6)
        assert not np.allclose(one["pi"][name], one["plain"][name], rtol=1e-2)


def test_of_a_flax_vae_either_half_has_its_gradient():
    model = models.vae(*nets.mlp_pair((3, 2, 1), (4,)), 2, bernoulli())
    batch = {"x": jnp.asarray(np.random.default_rng(0).uniform(size=(5, 3, 2, 1)), jnp.float32)}
    params = model.init(jax.random.key(0), batch)["params"]

    def gradient(objective):
        loss_fn = make_loss(model, objective)
        of = jax.grad(lambda p: loss_fn(p, {}, batch, jax.random.key(1), STEP)[0])
        return jax.jit(of)(params)

    plain, groups = gradient(Iwae(samples=6)), gradient(Miwae(samples=6, groups=3))
    partial_, double = (
        gradient(Piwae(samples=6, groups=3)),
        gradient(Iwae(samples=6, gradient="double")),
    )
    for found in (partial_, double):
        chex.assert_trees_all_close(found["decoder"], plain["decoder"], rtol=1e-4, atol=1e-6)
    for name in ("encoder", "mean", "log_sigma"):
        chex.assert_trees_all_close(partial_[name], groups[name], rtol=1e-4, atol=1e-6)
    kernels = (tree["mean"]["kernel"] for tree in (plain, groups, double))
    for one, other in itertools.combinations(kernels, 2):
        assert not np.allclose(one, other, rtol=1e-2)


def test_rows_that_only_fill_the_batch_do_not_count():
    wrong = LinearGaussian(inflation=1.3)
    x = wrong.data(3)
    padded = {
        "x": jnp.concatenate([x[:2], jnp.full((1, 5), jnp.nan)]),
        "mask": jnp.array([True, True, False]),
    }
    loss_fn = make_loss(wrong.model, Iwae(samples=4))
    _, (metrics, _) = loss_fn(wrong.params, {}, padded, jax.random.key(0), STEP)
    chex.assert_tree_all_finite(metrics)
    # By hand: the first two columns of the same draws.
    safe = jnp.where(jnp.isnan(padded["x"]), 0, padded["x"])
    bound = wrong.model.bind(wrong.variables)
    log_weights = models.log_weights(bound, {"x": safe}, jax.random.key(0), 4)
    expected = bounds.iwae_bound(log_weights)[:2].mean()
    np.testing.assert_allclose(metrics["iwae"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], log_weights[:, :2].mean(), rtol=1e-5)
