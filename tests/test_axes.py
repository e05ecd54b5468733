"""Which axes are examples: one rule for all formulas; and the type that they are computed in."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pieces
import pytest

import aejax
from aejax import likelihoods, objectives
from aejax.models.model import Model

REFUSED = ValueError
IMAGES = {"[B, H, W, D]": (2, 3, 3, 4), "[K, B, H, W, D]": (2, 2, 3, 3, 4)}
RANKS = {"scalar": (), "[D]": (4,), "[B, D]": (2, 4), "empty": (0, 4), **IMAGES}
RULE = {
    "data": [REFUSED, REFUSED, (2,), (0,), (2,), (2,)],
    "latent": [REFUSED, (), (2,), (0,), (2, 3, 3), (2, 2, 3, 3)],
    "bound": [REFUSED, REFUSED, (4,), REFUSED, REFUSED, REFUSED],
}
OF_ONE_SHAPE = {
    "data": [
        likelihoods.bernoulli_log_prob,
        likelihoods.continuous_bernoulli_log_prob,
        lambda mean, x: likelihoods.gaussian_log_prob(mean, 0.0, x),
        lambda mean, x: likelihoods.gaussian_log_prob(mean, mean, x),
        likelihoods.gaussian_optimal_log_prob,
        lambda mean, x: likelihoods.laplace_log_prob(mean, 0.0, x),
        lambda mean, x: likelihoods.gaussian_per_pixel_log_prob(doubled(mean), x),
        lambda mean, x: likelihoods.categorical_log_prob(jnp.tile(mean, 256), x),
        lambda mean, x: likelihoods.token_log_prob(mean[..., None], x.astype(jnp.int32)),
        lambda mean, x: aejax.penalties.activity(x),
    ],
    "latent": [
        aejax.gaussian_kl,
        lambda a, b: aejax.gaussian_kl_between(a, b, a, b),
        lambda a, b: aejax.DiagonalGaussian(a, b).log_prob(a),
        lambda a, b: aejax.DiagonalGaussian(a, b).kl(aejax.standard_normal(a.shape)),
    ],
    "bound": [
        aejax.bounds.elbo,
        aejax.iwae_bound,
        lambda w: aejax.bounds.miwae_bound(w, 1),
        lambda w: aejax.bounds.ciwae_bound(w, 0.5),
        lambda w: aejax.bounds.renyi_bound(w, 0.5),
    ],
}


def doubled(mean):
    return jnp.concatenate([mean, mean], axis=-1) if mean.ndim else mean


@pytest.mark.parametrize("place", range(len(RANKS)), ids=RANKS)
@pytest.mark.parametrize("kind", RULE)
def test_every_formula_keeps_the_rule_at_every_rank(kind, place):
    shape, expected = list(RANKS.values())[place], RULE[kind][place]
    arrays = [jnp.zeros(shape)] * (1 if kind == "bound" else 2)
    for formula in OF_ONE_SHAPE[kind]:
        if expected is REFUSED:
            with pytest.raises(ValueError, match=r"\[|scalar") as error:
                jax.eval_shape(formula, *arrays)
            assert "\n" not in str(error.value)
        else:
            assert jax.eval_shape(formula, *arrays).shape == expected


def test_one_example_under_vmap_is_refused_or_right():
    logits = x = jnp.full((3, 784), 0.25)
    with pytest.raises(ValueError, match=r"x \(784,\) is not \[B, ...\]: give x\[None\]"):
        jax.vmap(likelihoods.bernoulli_log_prob)(logits, x)
    one = jax.vmap(lambda logits, x: likelihoods.bernoulli_log_prob(logits[None], x[None])[0])
    np.testing.assert_array_equal(one(logits, x), likelihoods.bernoulli_log_prob(logits, x))
    np.testing.assert_array_equal(jax.vmap(aejax.gaussian_kl)(x, x), aejax.gaussian_kl(x, x))


@dataclasses.dataclass(frozen=True)
class Plain:
    """A posterior that is neither a pair nor a Gaussian of ours: only what is documented."""

    inside: aejax.DiagonalGaussian

    def __getattr__(self, name):
        return getattr(self.inside, name)


jax.tree_util.register_dataclass(Plain, ["inside"], [])


def spatial(event, posterior=lambda q: q):
    """A model whose latent is `[B, *event]`, each of N(1, 1), and whose p(x|z) is a constant."""
    q = aejax.DiagonalGaussian(jnp.ones((2, *event)), jnp.zeros((2, *event)))
    nothing = jnp.zeros((2, *event))
    return Model(
        init=lambda key, batch: {},
        posterior=lambda variables, batch: posterior(q),
        prior=lambda variables, batch: aejax.standard_normal(event),
        log_likelihood=lambda variables, batch, z: jnp.zeros(z.shape[: z.ndim - len(event)]),
        decode=lambda variables, z, batch=None: nothing,
        draw=lambda variables, key, z, batch=None: nothing,
    )


CLOSED = ["elbo", "free_bits", "geco", "info_vae"]
SAMPLED = ["sampled", "iwae", "miwae", "piwae", "ciwae", "renyi"]


def metrics_of(model, name):
    kinds = {"capacity": {"gamma": 1.0}, "free_bits": {"nats": 0.0}, "renyi": {"samples": 4}}
    objective = objectives.OBJECTIVES[name](**kinds.get(name, {}))
    objective = objective.during(objectives.Training(10, 2, 2))
    loss = objectives.make_loss(model, objective)
    extra = objective.collections()
    run = jax.jit(lambda key: loss({}, extra, {"x": jnp.zeros((2, 1))}, key, jnp.int32(0))[1][0])
    return run(jax.random.key(0))


@pytest.mark.parametrize("name", CLOSED)
def test_positions_of_the_latent_are_added_up(name):
    assert metrics_of(spatial((7, 7, 4)), name)["kl"] == 98


@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_positions_are_added_up(name):
    of_grid, flat = (metrics_of(spatial(event), name) for event in ((2, 2, 3), (12,)))
    assert of_grid.keys() == flat.keys()
    for key, value in of_grid.items():
        np.testing.assert_allclose(value, flat[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["elbo", "iwae", "beta_tcvae", "wae_mmd"])
def test_a_posterior_is_any_pytree_with_the_documented_methods(name):
    own, plain = metrics_of(spatial((3,)), name), metrics_of(spatial((3,), Plain), name)
    np.testing.assert_array_equal(own["loss"], plain["loss"])


def test_a_term_that_is_not_of_examples_is_refused():
    class Wrong(objectives.Objective):
        def terms(self, model, batch, key, step):
            return {"loss": jnp.zeros((2, 3))}

    with pytest.raises(ValueError, match=r"the term loss is \(2, 3\) of 2 examples"):
        objectives.make_loss(spatial((3,)), Wrong())({}, {}, {"x": jnp.zeros((2, 1))}, None, 0)


def test_bernoullis_tails_are_exact_on_both_sides():
    for logit, x in ((17.0, 1.0), (-17.0, 0.0), (40.0, 1.0), (3.0, 0.0), (-2.0, 0.3), (2.5, 0.9)):

        def log_prob(logit, x=x):
            return likelihoods.bernoulli_log_prob(logit[None, None], jnp.full((1, 1), x))[0]

        value, slope = jax.value_and_grad(log_prob)(jnp.float32(logit))
        exact = -x * math.log1p(math.exp(-logit)) - (1 - x) * math.log1p(math.exp(logit))
        one, zero = 1 / (1 + math.exp(logit)), 1 / (1 + math.exp(-logit))
        np.testing.assert_allclose(value, exact, rtol=1e-6)
        np.testing.assert_allclose(slope, x * one - (1 - x) * zero, rtol=1e-5)


# The one is its argument, the other draws noise of its argument's type.
@pytest.mark.parametrize(
    "name", sorted(pieces.FORMULAS.keys() - {"scaled_gradient", "contraction"})
)
def test_bfloat16_is_accumulated_in_float32(name):
    """Beside float64 of the same numbers."""
    formula, *arrays = pieces.FORMULAS[name]
    if name in ("categorical_log_prob", "logistic_mixture_log_prob"):
        arrays[1] = np.round(arrays[1])  # levels of both types
    half = [a.astype(jnp.bfloat16) if a.dtype == np.float32 else a for a in arrays]
    found = formula(*map(jnp.asarray, half))
    with jax.enable_x64(True):
        double = [a.astype(np.float64) if a.dtype == jnp.bfloat16 else a for a in half]
        exact = jax.tree.map(np.asarray, formula(*map(jnp.asarray, double)))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_a_kl_of_many_dimensions_in_bfloat16_is_right():
    rng = np.random.default_rng(0)
    mean, log_sigma = (rng.normal(size=(8, 256)).astype(jnp.bfloat16) for _ in range(2))
    m, s = mean.astype(np.float64), log_sigma.astype(np.float64)
    exact = np.sum(0.5 * (np.exp(2 * s) + m**2 - 1) - s, axis=-1)
    np.testing.assert_allclose(aejax.gaussian_kl(mean, log_sigma), exact, rtol=1e-6)
    squares = ((m - m[::-1]) / np.exp(s)) ** 2
    exact = np.sum(-0.5 * (squares + math.log(2 * math.pi)) - s, axis=-1)
    found = aejax.DiagonalGaussian(mean, log_sigma).log_prob(mean[::-1])
    np.testing.assert_allclose(found, exact, rtol=1e-6)
