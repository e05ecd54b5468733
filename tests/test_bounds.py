"""Bounds against float64 arithmetic, their order, and their gradients against each other."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from aejax import bounds, estimators

RNG = np.random.default_rng(0)
LOG_WEIGHTS = -90 + 4 * RNG.normal(size=(6, 3))


def groups_by_hand(groups):
    parts = LOG_WEIGHTS.reshape(groups, -1, 3)
    return (logsumexp(parts, axis=1) - np.log(parts.shape[1])).mean(0)


def renyi_by_hand(alpha):
    return (logsumexp((1 - alpha) * LOG_WEIGHTS, axis=0) - np.log(6)) / (1 - alpha)


BOUNDS = {
    "elbo": (bounds.elbo, LOG_WEIGHTS.mean(0)),
    "iwae": (bounds.iwae_bound, groups_by_hand(1)),
    "miwae": (partial(bounds.miwae_bound, groups=3), groups_by_hand(3)),
    "ciwae": (
        partial(bounds.ciwae_bound, beta=0.25),
        0.25 * LOG_WEIGHTS.mean(0) + 0.75 * groups_by_hand(1),
    ),
    "renyi_half": (partial(bounds.renyi_bound, alpha=0.5), renyi_by_hand(0.5)),
    "renyi_two": (partial(bounds.renyi_bound, alpha=2.0), renyi_by_hand(2.0)),
    "renyi_negative": (partial(bounds.renyi_bound, alpha=-1.0), renyi_by_hand(-1.0)),
    "renyi_near_one": (partial(bounds.renyi_bound, alpha=1.0005), renyi_by_hand(1.0005)),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_equals_float64(name):
    bound, expected = BOUNDS[name]
    got = jax.jit(bound)(jnp.asarray(LOG_WEIGHTS))
    chex.assert_shape(got, (3,))
    np.testing.assert_allclose(got, expected, rtol=3e-6)


@pytest.mark.parametrize("name", BOUNDS)
def test_its_gradient_is_that_of_finite_differences(name):
    bound, _ = BOUNDS[name]
    direction = RNG.normal(size=LOG_WEIGHTS.shape)
    _, slope = jax.jvp(bound, (jnp.asarray(LOG_WEIGHTS),), (jnp.asarray(direction),))
    ends = [bound(jnp.asarray(LOG_WEIGHTS + s * 0.02 * direction)) for s in (1, -1)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 0.04, atol=3e-3)


def test_they_stand_in_their_order():
    values = [BOUNDS[n][0](jnp.asarray(LOG_WEIGHTS)) for n in ("elbo", "miwae", "iwae")]
    assert (values[0] < values[1]).all()
    assert (values[1] < values[2]).all()
    renyi = [bounds.renyi_bound(jnp.asarray(LOG_WEIGHTS), a) for a in (-1, 0, 0.5, 0.9995, 1, 2)]
    assert all((a > b).all() for a, b in itertools.pairwise(renyi))


def test_the_ends_of_families():
    weights = jnp.asarray(LOG_WEIGHTS)
    elbo, iwae = bounds.elbo(weights), bounds.iwae_bound(weights)
    chex.assert_trees_all_close(bounds.renyi_bound(weights, 1.0), elbo)
    chex.assert_trees_all_close(bounds.renyi_bound(weights, 0.0), iwae)
    chex.assert_trees_all_close(bounds.miwae_bound(weights, 6), elbo, rtol=1e-6)
    chex.assert_trees_all_close(bounds.miwae_bound(weights, 1), iwae)
    chex.assert_trees_all_close(bounds.ciwae_bound(weights, 1.0), elbo)
    chex.assert_trees_all_close(bounds.iwae_bound(weights[:1]), bounds.elbo(weights[:1]))


@pytest.mark.parametrize("spread", [1.0, 50.0, 300.0])
@pytest.mark.parametrize("alpha", [0.999, 0.99999, 1.0, 1.000001, 1.01])
def test_the_renyi_bound_near_one_however_wide(alpha, spread):
    weights = spread * (LOG_WEIGHTS + 90) / 4
    power = 1 - np.float64(alpha)
    expected = weights.mean(0)
    if power != 0:
        expected = (logsumexp(power * weights, axis=0) - np.log(6)) / power
    got = jax.jit(bounds.renyi_bound)(jnp.asarray(weights), jnp.float32(alpha))
    # Float32's alpha is off by up to 6e-8, and the bound by that times half the variance.
    slack = 1e-5 * spread + 6e-8 * weights.var(axis=0).max()
    np.testing.assert_allclose(got, expected, atol=slack)


def test_the_renyi_bound_maps_over_its_order():
    alphas = jnp.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    mapped = jax.vmap(bounds.renyi_bound, in_axes=(None, 0))(jnp.asarray(LOG_WEIGHTS), alphas)
    one_by_one = [bounds.renyi_bound(jnp.asarray(LOG_WEIGHTS), float(a)) for a in alphas]
    np.testing.assert_allclose(mapped, one_by_one, rtol=1e-6)


def quadratic(scale, z):
    """Log weights `[K, B]` of z `[K, B, D]`."""
    return -jnp.sum((z * scale[None, None] - 1) ** 2, axis=-1)


def test_each_half_has_the_gradient_of_its_weights():
    z, scale = jnp.asarray(RNG.normal(size=(6, 3, 2))), jnp.asarray(RNG.normal(size=(2,)))
    values, off = np.asarray(quadratic(scale, z)), np.asarray(z) * np.asarray(scale) - 1
    by_scale, by_z = -2 * off * np.asarray(z), -2 * off * np.asarray(scale)
    softmax = np.exp(values) / np.exp(values).sum(axis=0, keepdims=True)
    weights = RNG.uniform(size=(6, 3))

    def doubly(scale, z):
        twice = estimators.scaled_gradient(z, jnp.asarray(softmax)[..., None])
        return bounds.iwae_bound(quadratic(scale, twice))

    def halves(scale, z):
        by_model = quadratic(scale, jax.lax.stop_gradient(z))
        by_inference = quadratic(jax.lax.stop_gradient(scale), z)
        return estimators.two_gradient_bound(by_model, by_inference, jnp.asarray(weights))

    for bound, of_z in ((doubly, softmax**2), (halves, weights)):
        np.testing.assert_allclose(
            bound(scale, z), bounds.iwae_bound(jnp.asarray(values)), rtol=1e-5
        )
        found = jax.grad(lambda *a: bound(*a).sum(), argnums=(0, 1))(scale, z)  # noqa: B023
        expected = np.sum(softmax[..., None] * by_scale, axis=(0, 1))
        np.testing.assert_allclose(found[0], expected, rtol=1e-4)
        np.testing.assert_allclose(found[1], of_z[..., None] * by_z, rtol=1e-4, atol=1e-6)


def test_weights_are_the_gradients_of_their_bounds():
    weights = jnp.asarray(LOG_WEIGHTS)
    by_grad = jax.grad(lambda w: bounds.iwae_bound(w).sum())(weights)
    chex.assert_trees_all_close(estimators.importance_weights(weights), by_grad, rtol=1e-5)
    by_grad = jax.grad(lambda w: bounds.miwae_bound(w, 2).sum())(weights)
    chex.assert_trees_all_close(estimators.miwae_weights(weights, 2), by_grad, rtol=1e-5)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e15])
def test_far_weights_are_finite(name, scale):
    bound, _ = BOUNDS[name]
    weights = jnp.float32(scale) * jnp.asarray(LOG_WEIGHTS / 90)
    chex.assert_tree_all_finite(jax.value_and_grad(lambda w: bound(w).sum())(weights))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.iwae_bound(jnp.zeros(3)), r"\(3,\) is not \[K, B\]"),
        (lambda: bounds.elbo(jnp.zeros((0, 3))), "K at least 1"),
        (lambda: bounds.miwae_bound(jnp.zeros((6, 3)), 4), "4 groups do not divide 6"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
