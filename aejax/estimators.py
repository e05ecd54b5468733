"""Gradient estimators of `bounds.iwae_bound`, other than the derivative of its value."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from aejax.bounds import check_log_weights, iwae_bound, miwae_bound

LogWeights = Callable[[Any, Any], jax.Array]
Weights = Callable[[jax.Array], jax.Array]


def importance_weights(log_weights: jax.Array) -> jax.Array:
    """The normalised weights, which are the gradient of `iwae_bound`: `[K, B]` -> `[K, B]`."""
    check_log_weights(log_weights)
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
