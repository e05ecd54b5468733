"""A latent variable model's functions over draws and images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import LinearGaussian

from aejax import models, nets
from aejax.generative import LatentVariableModel
from aejax.latents import standard_normal
from aejax.likelihoods import bernoulli, bernoulli_log_prob, gaussian_learned


@pytest.fixture
def linear():
    return LinearGaussian(inflation=1.4)


def test_draws_are_decoded_each_with_its_image(linear):
    x, z = linear.data(4), jax.random.normal(jax.random.key(0), (3, 4, 2))
    got = linear.model.log_joint(linear.params, x, z)
    assert got.shape == (3, 4)
    mean = np.asarray(z) @ linear.w.T + linear.b
    squares = ((np.asarray(x) - mean) / linear.sigma) ** 2 + np.log(2 * np.pi * linear.sigma**2)
    prior = (np.asarray(z) ** 2 + np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(got, -0.5 * (squares.sum(-1) + prior), rtol=1e-4)


def test_a_scalar_among_the_likelihoods_parameters_is_shared(linear):
    model = LatentVariableModel(
        encode=linear.encode,
        decode=lambda params, z: (linear.model.decode(params, z), jnp.log(linear.sigma)),
        likelihood=gaussian_learned(),
        prior=lambda params: standard_normal((2,)),
    )
    x, z = linear.data(4), jax.random.normal(jax.random.key(0), (3, 4, 2))
    got = model.log_joint(linear.params, x, z)
    np.testing.assert_allclose(got, linear.model.log_joint(linear.params, x, z), rtol=1e-5)


def test_log_weights_are_those_of_their_draws(linear):
    x, key = linear.data(4), jax.random.key(1)
    got = linear.model.log_weights(linear.params, x, key, 5)
    posterior = linear.encode(linear.params, x)
    z = posterior.samples(jax.random.key(1), 5)
    expected = linear.model.log_joint(linear.params, x, z) - posterior.log_prob(z)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    # The evidence is the mean weight, whatever the posterior: within its error.
    weights = np.exp(linear.model.log_weights(linear.params, x, jax.random.key(2), 20_000))
    exact = np.exp(linear.log_marginal(x))
    error = np.std(weights, axis=0) / np.sqrt(20_000)
    assert (np.abs(weights.mean(axis=0) - exact) < 4.5 * error).all()


def test_the_wrong_order_of_axes_is_one_line(linear):
    x = linear.data(4)
    with pytest.raises(ValueError, match=r"z \(4, 3, 2\) is not \[K, 4, D\]"):
        linear.model.log_likelihood(linear.params, x, jnp.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match="0 samples"):
        linear.model.log_weights(linear.params, x, jax.random.key(0), 0)


def test_a_vae_module_as_plain_functions():
    vae = models.VAE(*nets.mlp_pair((4, 4, 1), (8,)), 3)
    model = models.latent_variable_model(vae, bernoulli())
    x = jnp.full((2, 4, 4, 1), 0.5)
    params = models.functions(vae).init(jax.random.key(0), x)
    weights = jax.jit(lambda p, k: model.log_weights(p, x, k, 6))(params, jax.random.key(1))
    assert weights.shape == (6, 2)
    variables = {"params": params}
    posterior = vae.apply(variables, x, method="encode")
    z = posterior.samples(jax.random.key(1), 6)
    first = bernoulli_log_prob(vae.apply(variables, z[0], method="decode"), x)
    first += standard_normal((3,)).log_prob(z[0]) - posterior.log_prob(z[0])
    np.testing.assert_allclose(weights[0], first, rtol=1e-5)
