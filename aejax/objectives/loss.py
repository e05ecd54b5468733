"""The mean over the batch, and what every variational objective reports."""

import jax
import jax.numpy as jnp

from aejax.types import Metrics


def batch_mean(values: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The mean of `values` `[B]` over the rows where `mask` `[B]` is True (all, without a mask)."""
    if mask is None:
        return jnp.mean(values)
    weights = mask.astype(values.dtype)
    # where, not a product: a row that only fills the batch may hold a NaN.
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(jnp.sum(weights), 1)


def elbo_metrics(loss: jax.Array, reconstruction: jax.Array, kl: jax.Array) -> Metrics:
    """The parts that every variational objective reports, nats per example.

    `reconstruction` is -E log p(x|z), and `elbo` weighs the KL by 1 whatever the loss does.
    """
    return {
        "loss": loss,
        "reconstruction": reconstruction,
        "kl": kl,
        "elbo": -(reconstruction + kl),
    }
