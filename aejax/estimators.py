"""Gradient estimators of `bounds.iwae_bound`, other than the derivative of its value."""

from functools import partial

import jax
import jax.numpy as jnp

from aejax.axes import require_log_weights
from aejax.bounds import iwae_bound, miwae_bound
from aejax.precision import floats


def importance_weights(log_weights: jax.Array) -> jax.Array:
    """The normalised weights, which are the gradient of `iwae_bound`: `[K, B]` -> `[K, B]`."""
    require_log_weights(log_weights)
    return jax.nn.softmax(floats(log_weights)[0], axis=0)


def miwae_weights(log_weights: jax.Array, groups: int) -> jax.Array:
    """The gradient of `miwae_bound` by its log weights: `[K, B]` -> `[K, B]`."""
    (log_weights,) = floats(log_weights)
    _, pullback = jax.vjp(partial(miwae_bound, groups=groups), log_weights)
    return pullback(jnp.ones_like(log_weights[0]))[0]


def two_gradient_bound(
    by_model: jax.Array, by_inference: jax.Array, weights: jax.Array
) -> jax.Array:
    """`iwae_bound`, with one gradient for the generative model and another for the inference net.

    As in PIWAE (Rainforth et al. 2018, arXiv 1802.04537, section 5). Both log weights have the same
    values; the compiler makes them in one pass.

    Args:
        by_model: log weights `[K, B]` through which the generative model's gradient goes.
        by_inference: the same, through which the inference net's goes.
        weights: `[K, B]`, those of the inference net's gradient, such as `miwae_weights`.

    Returns:
        `[B]`, nats: the bound of all K draws.
    """
    by_inference, weights = floats(by_inference, weights)
    surrogate = jnp.sum(jax.lax.stop_gradient(weights) * by_inference, axis=0)
    return iwae_bound(by_model) + surrogate - jax.lax.stop_gradient(surrogate)


def scaled_gradient(z: jax.Array, scale: jax.Array) -> jax.Array:
    """`z` as it is; its derivative, in either mode, is multiplied by `scale`.

    With the normalised importance weights `[K, B]` for the scale of reparameterised draws
    `[K, B, ...]`, and q's parameters held in its density, the gradient of `iwae_bound` by the
    inference net is the doubly reparameterised one (Tucker et al. 2019, arXiv 1810.04152,
    equation 8): it is weighed once by the bound and once more here.
    """
    fixed = jax.lax.stop_gradient(z)
    scale = jax.lax.stop_gradient(scale).astype(z.dtype)
    return fixed + jnp.expand_dims(scale, tuple(range(scale.ndim, z.ndim))) * (z - fixed)
