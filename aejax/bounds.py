"""Bounds on log p(x) from log weights `[K, B]`: samples first, images second, nats.

A log weight is log p(x, z) - log q(z|x) at a draw z of q(z|x); see `models.log_weights`.
"""

import math

import jax
import jax.numpy as jnp

from aejax.axes import require_log_weights
from aejax.precision import floats


def elbo(log_weights: jax.Array) -> jax.Array:
    """The evidence lower bound, the mean of the log weights: `[K, B]` -> `[B]`.

    Kingma & Welling 2014 (arXiv 1312.6114), equation 2, its KL sampled.

    Raises:
        ValueError: if `log_weights` is not `[K, B]` with K at least 1.
    """
    log_weights = _checked(log_weights)
    return jnp.mean(log_weights, axis=0)


def iwae_bound(log_weights: jax.Array) -> jax.Array:
    """The importance-weighted bound, log of the mean weight: `[K, B]` -> `[B]`.

    Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), equation 8. It is the ELBO at K = 1, no
    lower in expectation for a greater K, and comes to log p(x) as K grows.

    Raises:
        ValueError: if `log_weights` is not `[K, B]` with K at least 1.
    """
    log_weights = _checked(log_weights)
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))


def miwae_bound(log_weights: jax.Array, groups: int) -> jax.Array:
    """The mean of `groups` importance-weighted bounds of K / groups samples: `[K, B]` -> `[B]`.

    Rainforth et al. 2018 (arXiv 1802.04537), equation 14; samples of a group lie side by side.

    Raises:
        ValueError: if `log_weights` is not `[K, B]` or `groups` does not divide K.
    """
    log_weights = _checked(log_weights)
    samples, images = log_weights.shape
    if groups < 1 or samples % groups:
        raise ValueError(f"{groups} groups do not divide {samples} samples: log_weights is [K, B]")
    return jnp.mean(jax.vmap(iwae_bound)(log_weights.reshape(groups, -1, images)), axis=0)


def ciwae_bound(log_weights: jax.Array, beta: float | jax.Array) -> jax.Array:
    """Beta times the ELBO plus 1 - beta times the importance-weighted bound: `[K, B]` -> `[B]`.

    Rainforth et al. 2018 (arXiv 1802.04537), equation 16; beta is within 0 (IWAE) and 1 (ELBO).

    Raises:
        ValueError: if `log_weights` is not `[K, B]`.
    """
    return beta * elbo(log_weights) + (1 - beta) * iwae_bound(log_weights)


def renyi_bound(log_weights: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """The variational Renyi bound of order alpha: `[K, B]` -> `[B]`.

    Li & Turner 2016 (arXiv 1602.02311), equation 6: log(mean of w^(1 - alpha)) / (1 - alpha). It
    is the importance-weighted bound at 0 and the ELBO at 1; below 0 it exceeds log p(x) for many
    samples.

    Raises:
        ValueError: if `log_weights` is not `[K, B]`.
    """
    log_weights = _checked(log_weights)
    mean, power = elbo(log_weights), 1 - jnp.asarray(alpha, log_weights.dtype)
    at_one = power == 0
    power = jnp.where(at_one, 1, power)
    scaled = power * (log_weights - mean[None])
    # log E e^s / p = log1p(E expm1(s)) / p: where p is small the quotient of logsumexp is noise.
    # Each form is given only what suits it, for the other's gradient not to be NaN.
    small = jnp.max(jnp.abs(scaled), axis=0) < 1
    of_small = jnp.log1p(jnp.mean(jnp.expm1(jnp.where(small[None], scaled, 0)), axis=0))
    of_large = iwae_bound(jnp.where(small[None], 0, scaled))
    return mean + jnp.where(at_one, 0, jnp.where(small, of_small, of_large) / power)


def _checked(log_weights: jax.Array) -> jax.Array:
    require_log_weights(log_weights)
    return floats(log_weights)[0]
