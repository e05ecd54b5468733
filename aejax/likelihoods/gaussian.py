"""Gaussian pixels, of a scale that is fixed, learned, the decoder's, or the best for each image."""

import math

import jax
import jax.numpy as jnp

from aejax.latents import LOG_2PI
from aejax.likelihoods.likelihood import (
    Likelihood,
    as_float,
    as_rows,
    location_scale_rows,
    log_of_sigma,
    require_channels,
    require_same_shape,
)

# Scales that adapt stop here: a background of one grey would else make the density infinite. It is
# the standard deviation that rounding to 8 bits alone gives, 1/255 / sqrt(12).
MIN_SIGMA = 1 / (255 * math.sqrt(12))
_LOG_MIN_SIGMA = math.log(MIN_SIGMA)


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
    mean, log_sigma, x = location_scale_rows(mean, log_sigma, x)
    standardised = (x - mean) * jnp.exp(-log_sigma)
    return jnp.sum(-0.5 * (standardised**2 + LOG_2PI) - log_sigma, axis=-1)


def gaussian_per_pixel_log_prob(outputs: jax.Array, x: jax.Array) -> jax.Array:
    """Log N(x; mean, sigma^2) in nats, mean and scale of each element from the decoder.

    sigma is kept above `MIN_SIGMA`, log sigma = log min + softplus(output - log min), as Rybkin et
    al. 2021 (arXiv 2006.13202) do in their code with log min = -6.

    Args:
        outputs: `[B, ..., 2 C]`: the C means, then what becomes the C log standard deviations.
        x: `[B, ..., C]`.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes do not fit.
    """
    require_channels(outputs, x, 2)
    return gaussian_log_prob(*_mean_and_log_sigma(outputs), x)


def gaussian_optimal_log_prob(mean: jax.Array, x: jax.Array) -> jax.Array:
    """The highest log N(x; mean, sigma^2) that one sigma for each whole image gives, in nats.

    That sigma^2 is the image's mean squared error m, or `MIN_SIGMA`^2 if m is less. Above it
    log p = -N/2 (log(2 pi m) + 1) for the N elements of an image.

    Rybkin, Daniilidis & Levine 2021 (arXiv 2006.13202) take one sigma for a batch. Here each image
    has its own, so that a row says the same whatever the others hold, padding included; the log
    being concave, the sum over a batch is never less than theirs. As sigma is chosen after seeing
    x, this is no normalised density, and it bounds from above what any fixed sigma gives: compare
    it with no other likelihood's nats.

    Args:
        mean: `[B, ...]`.
        x: `[B, ...]`, of the shape of `mean`.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes differ.
    """
    require_same_shape("mean", mean, x)
    mean, x = as_rows(mean, x)
    error = jnp.mean((x - mean) ** 2, axis=-1)
    # The gradient through sigma is 0, sigma being the best: smooth where the maximum switches too.
    variance = jnp.maximum(error, MIN_SIGMA**2)
    return -0.5 * x.shape[1] * (LOG_2PI + jnp.log(variance) + error / variance)


def gaussian(sigma: float) -> Likelihood:
    """Gaussian pixels of one fixed standard deviation; the decoder's outputs are means `[B, ...]`.

    Raises:
        ValueError: if `sigma` is not positive.
    """
    log_sigma = log_of_sigma(sigma)
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
        lambda key, outputs: _draw(key, *outputs),
    )


def gaussian_per_pixel() -> Likelihood:
    """Gaussian pixels, each of its own scale; the outputs are those `[B, ..., 2 C]`.

    See `gaussian_per_pixel_log_prob`.
    """
    return Likelihood(
        gaussian_per_pixel_log_prob,
        lambda outputs: _mean_and_log_sigma(outputs)[0],
        lambda key, outputs: _draw(key, *_mean_and_log_sigma(outputs)),
        lambda channels: 2 * channels,
    )


def gaussian_optimal() -> Likelihood:
    """Gaussian pixels of the scale that suits each image best; the outputs are means `[B, ...]`.

    See `gaussian_optimal_log_prob`. It has no samples: without an image there is no scale.
    """
    return Likelihood(gaussian_optimal_log_prob, lambda mean: mean, _no_samples, normalised=False)


def _mean_and_log_sigma(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, unbounded = jnp.split(as_float(outputs), 2, axis=-1)
    return mean, _LOG_MIN_SIGMA + jax.nn.softplus(unbounded - _LOG_MIN_SIGMA)


def _draw(key: jax.Array, mean: jax.Array, log_sigma: jax.Array) -> jax.Array:
    return mean + jnp.exp(log_sigma) * jax.random.normal(key, mean.shape, mean.dtype)


def _no_samples(key: jax.Array, mean: jax.Array) -> jax.Array:
    raise ValueError(
        "gaussian_optimal has no samples, its scale is fitted to an image at hand: take the mean, "
        "or train with gaussian_learned"
    )
