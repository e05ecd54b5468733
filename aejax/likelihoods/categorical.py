"""Categorical pixels: any distribution over the 256 levels of an 8-bit channel."""

import jax
import jax.numpy as jnp

from aejax.likelihoods.likelihood import (
    LEVELS,
    Likelihood,
    as_float,
    as_rows,
    level_of,
    require_channels,
    require_levels,
)


def categorical_log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Log-probability in nats of 8-bit levels: the logit at the level less the logsumexp of all.

    van den Oord et al. 2016 (arXiv 1601.06759), section 3.3, each channel by itself.

    Args:
        logits: `[B, ..., 256 C]`: the 256 logits of the first channel, then of the second, ...
        x: `[B, ..., C]`, multiples of 1/255 in [0, 1].

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes do not fit, or x, when not traced, is off the levels.
    """
    require_channels(logits, x, LEVELS)
    require_levels(x)
    logits, x = as_rows(logits, x)
    logits = logits.reshape(*x.shape, LEVELS)
    level = level_of(x).astype(jnp.int32)[..., None]
    chosen = jnp.take_along_axis(logits, level, axis=-1)[..., 0]
    return jnp.sum(chosen - jax.nn.logsumexp(logits, axis=-1), axis=-1)


def categorical() -> Likelihood:
    """Pixels of 256 levels; the decoder's outputs are logits `[B, ..., 256 C]`."""
    return Likelihood(
        categorical_log_prob,
        _mean,
        _sample,
        lambda channels: LEVELS * channels,
        levels=True,
        unit=True,
    )


def _mean(logits: jax.Array) -> jax.Array:
    probabilities = jax.nn.softmax(_by_level(logits))
    values = jnp.arange(LEVELS, dtype=probabilities.dtype) / (LEVELS - 1)
    return jnp.matmul(probabilities, values, precision=jax.lax.Precision.HIGHEST)


def _sample(key: jax.Array, logits: jax.Array) -> jax.Array:
    return jax.random.categorical(key, _by_level(logits)) / (LEVELS - 1)


def _by_level(logits: jax.Array) -> jax.Array:
    """`[..., 256 C]` -> `[..., C, 256]`, float32 at least."""
    return as_float(logits).reshape(*logits.shape[:-1], -1, LEVELS)
