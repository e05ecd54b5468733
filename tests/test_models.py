"""Autoencoder and VAE: shapes, parameters, noise and gradients."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import likelihoods, objectives
from aejax.latents import DiagonalGaussian
from aejax.models import VAE, Autoencoder, functions
from aejax.nets import LearnedScale, conv_pair, mlp_pair

SHAPES = [(8, 8, 1), (8, 12, 3)]
PAIRS = {
    "mlp": lambda shape: mlp_pair(shape, (9, 7)),
    "conv": lambda shape: conv_pair(shape, (4, 6)),
}


@functools.cache
def build(model, net, shape, latent_dim=2):
    model = model(*PAIRS[net](shape), latent_dim)
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(3, *shape)), jnp.float32)
    key = (jax.random.key(1),) if isinstance(model, VAE) else ()
    return model, jax.jit(model.init)(jax.random.key(0), x, *key)["params"], x


@functools.cache
def compiled(model, method):
    return jax.jit(functools.partial(model.apply, method=method))


def apply(model, params, *args, method="__call__"):
    return compiled(model, method)({"params": params}, *args)


def size(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("net", PAIRS)
@pytest.mark.parametrize("shape", SHAPES)
def test_autoencoder_shapes(net, shape):
    model, params, x = build(Autoencoder, net, shape)

    @jax.jit
    def parts(variables, x):
        code = model.apply(variables, x, method=model.encode)
        decoded = model.apply(variables, code, method=model.decode)
        return model.apply(variables, x), code, decoded

    outputs, code, decoded = parts({"params": params}, x)
    chex.assert_shape(code, (3, 2))
    chex.assert_shape(outputs, (3, *shape))
    chex.assert_tree_all_finite((outputs, code))
    chex.assert_trees_all_close(decoded, outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", PAIRS)
@pytest.mark.parametrize("shape", SHAPES)
def test_vae_shapes(net, shape):
    model, params, x = build(VAE, net, shape)

    @jax.jit
    def parts(variables, x):
        posterior = model.apply(variables, x, method=model.encode)
        draw = posterior.sample(jax.random.key(0))
        decoded = model.apply(variables, draw, method=model.decode)
        return model.apply(variables, x, jax.random.key(0)), posterior, decoded

    (outputs, posterior), alone, decoded = parts({"params": params}, x)
    assert isinstance(posterior, DiagonalGaussian)
    chex.assert_shape(list(posterior), (3, 2))
    chex.assert_shape(outputs, (3, *shape))
    chex.assert_tree_all_finite((outputs, posterior))
    chex.assert_trees_all_close(alone, posterior, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(decoded, outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 5, 1), (1, 1, 3)])
def test_odd_images(shape):
    model, params, x = build(VAE, "mlp", shape)
    outputs, _ = apply(model, params, x, jax.random.key(0))
    chex.assert_shape(outputs, (3, *shape))


def test_parameter_counts():
    """Image of 8 x 12 x 3 = 288; hidden 9, 7; latent 2."""
    encoder = (288 * 9 + 9) + (9 * 7 + 7)
    decoder = (2 * 7 + 7) + (7 * 9 + 9) + (9 * 288 + 288)
    head = 7 * 2 + 2
    assert size(build(Autoencoder, "mlp", (8, 12, 3))[1]) == encoder + head + decoder
    assert size(build(VAE, "mlp", (8, 12, 3))[1]) == encoder + 2 * head + decoder


def test_vae_draws_by_its_key():
    model, params, x = build(VAE, "mlp", (8, 8, 1))
    draws = [apply(model, params, x, jax.random.key(k))[0] for k in (0, 0, 1)]
    chex.assert_trees_all_equal(draws[0], draws[1])
    assert jnp.all(jnp.any(draws[0] != draws[2], axis=(1, 2, 3)))  # every row


def test_vae_rows_draw_their_own_noise():
    model, params, x = build(VAE, "mlp", (8, 8, 1))
    same = jnp.broadcast_to(x[:1], x.shape)
    outputs, posterior = apply(model, params, same, jax.random.key(0))
    np.testing.assert_allclose(posterior.mean[0], posterior.mean[1], rtol=1e-5)
    assert jnp.any(jnp.abs(outputs[0] - outputs[1]) > 1e-4)


def test_the_posterior_of_a_row_depends_on_that_row_alone():
    model, params, x = build(VAE, "conv", (8, 8, 1))
    changed = x.at[1].set(0.0)
    encode = jax.jit(lambda x: apply(model, params, x, method="encode"))
    before, after = encode(x), encode(changed)
    chex.assert_trees_all_equal(before.mean[::2], after.mean[::2])
    assert jnp.any(before.mean[1] != after.mean[1])


@pytest.mark.parametrize("net", PAIRS)
@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_gradients_reach_every_parameter(net, kind):
    model, params, x = build(kind, net, (8, 8, 1))
    objective = objectives.vae if kind is VAE else objectives.autoencoder
    loss_fn = objective(model.apply, likelihoods.bernoulli().log_prob)
    gradient = jax.jit(jax.grad(loss_fn, has_aux=True))
    grads, _ = gradient(params, {}, {"x": x}, jax.random.key(0), 0)
    chex.assert_trees_all_equal_shapes(grads, params)
    chex.assert_tree_all_finite(grads)
    dead = [k for k, g in jax.tree_util.tree_leaves_with_path(grads) if not jnp.any(g)]
    assert not dead


def test_learned_scale_has_one_scalar_more_and_its_gradient():
    encoder, decoder = mlp_pair((4, 4, 1), (6,))
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 4, 4, 1)), jnp.float32)
    plain = VAE(encoder, decoder, 2)
    model = VAE(encoder, LearnedScale(decoder), 2)
    params = jax.jit(model.init)(jax.random.key(0), x, jax.random.key(1))["params"]
    bare = jax.jit(plain.init)(jax.random.key(0), x, jax.random.key(1))["params"]
    assert size(params) == size(bare) + 1
    (mean, log_sigma), _ = apply(model, params, x, jax.random.key(0))
    chex.assert_shape([mean, log_sigma], [(3, 4, 4, 1), ()])
    assert log_sigma == 0
    loss_fn = objectives.vae(model.apply, likelihoods.gaussian_learned().log_prob)
    grads, _ = jax.jit(jax.grad(loss_fn, has_aux=True))(params, {}, {"x": x}, jax.random.key(0), 0)
    # d(-log p)/d log_sigma = number of pixels - the squared error at sigma = 1
    expected = 16 - jnp.mean(jnp.sum((x - mean) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(grads["decoder"]["log_sigma"], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_pure_functions_of_a_model(kind):
    model, params, x = build(kind, "mlp", (8, 8, 1))
    pure = functions(model)
    made = jax.jit(pure.init)(jax.random.key(0), x)
    chex.assert_trees_all_equal_shapes_and_dtypes(made, params)
    code = jax.jit(pure.encode)(params, x)
    chex.assert_trees_all_close(code, apply(model, params, x, method="encode"), rtol=1e-5)
    mean = code.mean if kind is VAE else code
    outputs = jax.jit(pure.decode)(params, mean)
    chex.assert_shape(outputs, x.shape)
    reconstructed = apply(model, params, x, method="reconstruct")  # at the mean, without noise
    chex.assert_trees_all_close(outputs, reconstructed, rtol=1e-5, atol=1e-6)
    keys = (jax.random.key(3),) if kind is VAE else ()
    given = jax.jit(pure.apply)({"params": params}, x, *keys)
    keys = (jax.random.key(3),) if kind is VAE else ()
    chex.assert_trees_all_close(given, apply(model, params, x, *keys), rtol=1e-5, atol=1e-6)
