"""log p(x|z), one function per likelihood: the decoder's outputs and x in, nats `[B]` out.

Every log-probability is summed over all axes but the first. Outputs and data must agree in shape:
broadcasting `[B, 784]` against `[B, 28, 28, 1]` is an error here, not a number.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aejax.latents import LOG_2PI


def _flatten(values: jax.Array) -> jax.Array:
    # Two axes, before the elementwise work: XLA's CPU loops over [B, 28, 28, 1] are not vectorised
    # and made the whole training step 1.4 times slower.
    return values.reshape(values.shape[0], -1)


def _require_same_shape(name: str, outputs: jax.Array, x: jax.Array) -> None:
    if jnp.shape(outputs) != jnp.shape(x):
        raise ValueError(
            f"{name} {jnp.shape(outputs)} and x {jnp.shape(x)} differ in shape: "
            "reshape one to the other"
        )


def bernoulli_log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Log Bernoulli(x; sigmoid(logits)) in nats; for x in (0, 1) the negative cross-entropy.

    log p = x log sigmoid(l) + (1 - x) log sigmoid(-l) = x l - softplus(l), finite with finite
    gradients at any finite logit; derivatives of every order are right at l = 0 too, where forms
    with max(l, 0) and |l| have a kink.
    For grey x it is the usual autoencoder loss, not a normalised density.

    Args:
        logits: `[B, ...]`, the log-odds of each element being 1.
        x: `[B, ...]` in [0, 1], of the shape of `logits`.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes differ.
    """
    _require_same_shape("logits", logits, x)
    logits, x = _flatten(logits), _flatten(x)
    return jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)


def gaussian_log_prob(mean: jax.Array, log_sigma: jax.Array | float, x: jax.Array) -> jax.Array:
    """Log N(x; mean, exp(log_sigma)^2) in nats.

    Args:
        mean: `[B, ...]`.
        log_sigma: a scalar (one scale for all), or `[B, ...]` (one an element).
        x: `[B, ...]`, of the shape of `mean`.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if `mean` and `x` differ in shape, or `log_sigma` is neither a scalar nor of
            their shape.
    """
    _require_same_shape("mean", mean, x)
    if jnp.ndim(log_sigma) > 0:
        _require_same_shape("log_sigma", jnp.asarray(log_sigma), x)
        log_sigma = _flatten(jnp.asarray(log_sigma))
    standardised = (_flatten(x) - _flatten(mean)) * jnp.exp(-log_sigma)
    return jnp.sum(-0.5 * (standardised**2 + LOG_2PI) - log_sigma, axis=-1)


class Likelihood(NamedTuple):
    """What a model needs of p(x|z), as functions of the decoder's outputs.

    Attributes:
        log_prob: (outputs, x `[B, ...]`) -> `[B]`, nats.
        mean: outputs -> E[x|z], `[B, ...]`.
        sample: (key, outputs) -> x ~ p(x|z), `[B, ...]`.
    """

    log_prob: Callable[[Any, jax.Array], jax.Array]
    mean: Callable[[Any], jax.Array]
    sample: Callable[[jax.Array, Any], jax.Array]


def bernoulli() -> Likelihood:
    """Bernoulli pixels; the decoder's outputs are logits `[B, ...]`."""
    return Likelihood(
        bernoulli_log_prob,
        jax.nn.sigmoid,
        lambda key, logits: jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype),
    )


def gaussian(sigma: float) -> Likelihood:
    """Gaussian pixels of one fixed standard deviation; the decoder's outputs are means `[B, ...]`.

    Raises:
        ValueError: if `sigma` is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"sigma {sigma} is not positive: give the pixels' standard deviation")
    log_sigma = math.log(sigma)
    return Likelihood(
        lambda mean, x: gaussian_log_prob(mean, log_sigma, x),
        lambda mean: mean,
        lambda key, mean: mean + sigma * jax.random.normal(key, mean.shape, mean.dtype),
    )


def gaussian_learned() -> Likelihood:
    """Gaussian pixels of a learned scale; the outputs are (mean `[B, ...]`, log_sigma)."""
    return Likelihood(
        lambda outputs, x: gaussian_log_prob(outputs[0], outputs[1], x),
        lambda outputs: outputs[0],
        lambda key, outputs: (
            outputs[0]
            + jnp.exp(outputs[1]) * jax.random.normal(key, outputs[0].shape, outputs[0].dtype)
        ),
    )
