"""Bernoulli pixels, the usual autoencoder's cross-entropy."""

import jax
import jax.numpy as jnp

from aejax.likelihoods.likelihood import (
    Likelihood,
    as_rows,
    require_same_shape,
    require_unit_interval,
)


def bernoulli_log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Log Bernoulli(x; sigmoid(logits)) in nats; for x in (0, 1) the negative cross-entropy.

    log p = x log sigmoid(l) + (1 - x) log sigmoid(-l), which is x l - log(1 + e^l) for l <= 0 and
    (x - 1) l - log(1 + e^-l) above: where x is 0 or 1 nothing cancels, however sure the logit.
    Finite with finite gradients at any finite logit; derivatives of every order are right at l = 0
    too, where forms with max(l, 0) and |l| have a kink.
    For grey x it is the usual autoencoder loss, not a normalised density; that is
    `continuous_bernoulli_log_prob`.

    Args:
        logits: `[B, ...]`, the log-odds of each element being 1.
        x: `[B, ...]` in [0, 1], of the shape of `logits`.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes differ, or x, when not traced, leaves [0, 1].
    """
    require_same_shape("logits", logits, x)
    require_unit_interval(x)
    logits, x = as_rows(logits, x)
    positive = logits > 0
    # Not -|l|, whose derivative at 0 is 0: either half's continuation is right there.
    tail = jnp.log1p(jnp.exp(jnp.where(positive, -logits, logits)))
    return jnp.sum((x - positive.astype(x.dtype)) * logits - tail, axis=-1)


def bernoulli() -> Likelihood:
    """Bernoulli pixels; the decoder's outputs are logits `[B, ...]`."""
    return Likelihood(
        bernoulli_log_prob,
        jax.nn.sigmoid,
        lambda key, logits: jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype),
        binary=True,
        unit=True,
    )
