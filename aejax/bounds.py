"""Bounds on log p(x) from log weights `[K, B]`: samples first, images second, nats.

A log weight is log p(x, z) - log q(z|x) at a draw z of q(z|x); see
`LatentVariableModel.log_weights`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

LogWeights = Callable[[Any, Any], jax.Array]
Weights = Callable[[jax.Array], jax.Array]


def elbo(log_weights: jax.Array) -> jax.Array:
    """The evidence lower bound, the mean of the log weights: `[K, B]` -> `[B]`.

    Kingma & Welling 2014 (arXiv 1312.6114), equation 2, its KL sampled.

    Raises:
        ValueError: if `log_weights` is not `[K, B]` with K at least 1.
    """
    _check(log_weights)
    return jnp.mean(log_weights, axis=0)


def iwae_bound(log_weights: jax.Array) -> jax.Array:
    """The importance-weighted bound, log of the mean weight: `[K, B]` -> `[B]`.

    Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), equation 8. It is the ELBO at K = 1, no
    lower in expectation for a greater K, and comes to log p(x) as K grows.

    Raises:
        ValueError: if `log_weights` is not `[K, B]` with K at least 1.
    """
    _check(log_weights)
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))


def miwae_bound(log_weights: jax.Array, groups: int) -> jax.Array:
    """The mean of `groups` importance-weighted bounds of K / groups samples: `[K, B]` -> `[B]`.

    Rainforth et al. 2018 (arXiv 1802.04537), equation 14; samples of a group lie side by side.

    Raises:
        ValueError: if `log_weights` is not `[K, B]` or `groups` does not divide K.
    """
    _check(log_weights)
    samples, images = log_weights.shape
    if groups < 1 or samples % groups:
        raise ValueError(f"{groups} groups do not divide {samples} samples: log_weights is [K, B]")
    return jnp.mean(jax.vmap(iwae_bound)(log_weights.reshape(groups, -1, images)), axis=0)


def ciwae_bound(log_weights: jax.Array, beta: float) -> jax.Array:
    """Beta times the ELBO plus 1 - beta times the importance-weighted bound: `[K, B]` -> `[B]`.

    Rainforth et al. 2018 (arXiv 1802.04537), equation 16.

    Raises:
        ValueError: if `log_weights` is not `[K, B]` or `beta` is not within 0 and 1.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta {beta} is not within 0 (IWAE) and 1 (ELBO)")
    return beta * elbo(log_weights) + (1 - beta) * iwae_bound(log_weights)


def renyi_bound(log_weights: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """The variational Renyi bound of order alpha: `[K, B]` -> `[B]`.

    Li & Turner 2016 (arXiv 1602.02311), equation 6: log(mean of w^(1 - alpha)) / (1 - alpha). It
    is the importance-weighted bound at 0 and the ELBO at 1; below 0 it exceeds log p(x) for many
    samples.

    Raises:
        ValueError: if `log_weights` is not `[K, B]` or `alpha`, when not traced, is not finite.
    """
    if not isinstance(alpha, jax.core.Tracer) and not math.isfinite(alpha):
        raise ValueError(f"alpha {alpha} is not finite")
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


def importance_weights(log_weights: jax.Array) -> jax.Array:
    """The normalised weights, which are the gradient of `iwae_bound`: `[K, B]` -> `[K, B]`."""
    _check(log_weights)
    return jax.nn.softmax(log_weights, axis=0)


def miwae_weights(log_weights: jax.Array, groups: int) -> jax.Array:
    """The gradient of `miwae_bound` by its log weights: `[K, B]` -> `[K, B]`."""
    _, pullback = jax.vjp(partial(miwae_bound, groups=groups), log_weights)
    return pullback(jnp.ones_like(log_weights[0]))[0]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def two_gradient_bound(
    log_weights: LogWeights,
    generative_weights: Weights,
    inference_weights: Weights,
    generative: Any,
    inference: Any,
) -> tuple[jax.Array, jax.Array]:
    """`iwae_bound`, with one gradient for the generative model and another for the inference net.

    One pass forward serves both. Each gradient is the sum over samples of a weight times the
    gradient of the log weight, as in PIWAE (Rainforth et al. 2018, section 5).

    Args:
        log_weights: (generative, inference) -> `[K, B]`; it must close over no traced array.
        generative_weights: log weights `[K, B]` -> those of the gradient by `generative`, `[K, B]`.
        inference_weights: log weights `[K, B]` -> those of the gradient by `inference`, `[K, B]`.
        generative: a pytree, such as the parameters, and whatever else `log_weights` reads.
        inference: a pytree, such as z and the posterior.

    Returns:
        the bound `[B]`, nats, and the log weights `[K, B]`, through which no gradient goes.
    """
    values = log_weights(generative, inference)
    return iwae_bound(values), values


def _forward(
    log_weights: LogWeights,
    generative_weights: Weights,
    inference_weights: Weights,
    generative: Any,
    inference: Any,
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, Any]]:
    values, pullback = jax.vjp(log_weights, generative, inference)
    return (iwae_bound(values), values), (values, pullback)


def _backward(
    log_weights: LogWeights,
    generative_weights: Weights,
    inference_weights: Weights,
    residuals: tuple[jax.Array, Any],
    cotangents: tuple[jax.Array, jax.Array],
) -> tuple[Any, Any]:
    (values, pullback), (cotangent, _) = residuals, cotangents
    by_generative, _ = pullback(cotangent[None] * generative_weights(values))
    _, by_inference = pullback(cotangent[None] * inference_weights(values))
    return by_generative, by_inference


two_gradient_bound.defvjp(_forward, _backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def doubly_reparameterized_bound(
    log_weights: LogWeights, generative: Any, z: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`iwae_bound`, its gradient by z weighed twice.

    Tucker et al. 2019 (arXiv 1810.04152), equation 8: q's parameters held in `log_weights`, the
    squares of the normalised weights make the gradient through z an unbiased one of the bound. As
    a z has a log weight of its own, one pass back serves: what comes to z is weighed once more.

    Args:
        log_weights: (generative, z `[K, B, D]`) -> `[K, B]`; it must close over no traced array.
        generative: a pytree, such as the parameters, whose gradient is the bound's own.
        z: `[K, B, D]`, reparameterised draws.

    Returns:
        the bound `[B]`, nats, and the log weights `[K, B]`, through which no gradient goes.
    """
    values = log_weights(generative, z)
    return iwae_bound(values), values


def _forward_doubly(
    log_weights: LogWeights, generative: Any, z: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, Any]]:
    values, pullback = jax.vjp(log_weights, generative, z)
    return (iwae_bound(values), values), (importance_weights(values), pullback)


def _backward_doubly(
    log_weights: LogWeights,
    residuals: tuple[jax.Array, Any],
    cotangents: tuple[jax.Array, jax.Array],
) -> tuple[Any, jax.Array]:
    (weights, pullback), (cotangent, _) = residuals, cotangents
    by_generative, by_z = pullback(cotangent[None] * weights)
    return by_generative, weights[..., None] * by_z


doubly_reparameterized_bound.defvjp(_forward_doubly, _backward_doubly)


def _check(log_weights: jax.Array) -> None:
    if jnp.ndim(log_weights) != 2 or jnp.shape(log_weights)[0] < 1:
        raise ValueError(
            f"log_weights {jnp.shape(log_weights)} is not [K, B] with K at least 1: samples are "
            "the first axis, images the second"
        )
