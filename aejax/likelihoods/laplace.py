"""Laplace pixels: the absolute error as a likelihood."""

import math

import jax
import jax.numpy as jnp

from aejax.likelihoods.likelihood import Likelihood, location_scale_rows, log_of_sigma

LOG_2 = math.log(2)


def laplace_log_prob(mean: jax.Array, log_sigma: jax.Array | float, x: jax.Array) -> jax.Array:
    """Log-density in nats of the Laplace distribution of a mean and a standard deviation.

    With the usual scale b the deviation is sqrt(2) b, so that log p = -|x - mean| / b - log(2 b)
    = -sqrt(2) |x - mean| / sigma - log sigma - log(2) / 2. The mean is the median too; at x = mean
    the gradient with respect to it is 0.

    Args:
        mean: `[B, ...]`.
        log_sigma: the log of the standard deviation, a scalar (one for all) or `[B, ...]`.
        x: `[B, ...]`, of the shape of `mean`.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if `mean` and `x` differ in shape, or `log_sigma` is neither a scalar nor of
            their shape.
    """
    mean, log_sigma, x = location_scale_rows(mean, log_sigma, x)
    standardised = (x - mean) * jnp.exp(-log_sigma)
    # |v| as max(v, -v), whose derivative at 0 is 0 and not 1.
    distance = jnp.maximum(standardised, -standardised)
    return jnp.sum(-math.sqrt(2) * distance - log_sigma - LOG_2 / 2, axis=-1)


def laplace(sigma: float) -> Likelihood:
    """Laplace pixels of one fixed standard deviation; the decoder's outputs are means `[B, ...]`.

    Raises:
        ValueError: if `sigma` is not positive.
    """
    log_sigma, scale = log_of_sigma(sigma), sigma / math.sqrt(2)
    return Likelihood(
        lambda mean, x: laplace_log_prob(mean, log_sigma, x),
        lambda mean: mean,
        lambda key, mean: mean + scale * jax.random.laplace(key, mean.shape, mean.dtype),
    )
