"""The evidence lower bound with the KL in closed form, and losses that charge it otherwise."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aejax.divergences import gaussian_kl_per_dimension
from aejax.latents import DiagonalGaussian
from aejax.objectives.kl_charges import Charge, weighted
from aejax.objectives.loss import batch_mean, elbo_metrics
from aejax.objectives.whole_batch import WholeBatch, mean_over
from aejax.types import Batch, LossFn, Metrics


def vae(
    apply_fn: Callable[..., Any],
    log_prob: Callable[[Any, jax.Array], jax.Array],
    *,
    beta: float | optax.Schedule = 1.0,
) -> LossFn:
    """The negative ELBO with the KL in closed form, weighed by beta.

    Kingma & Welling 2014 (arXiv 1312.6114), equation 10; beta as in Higgins et al. 2017.

    Args:
        apply_fn: (variables, images, key) -> (decoder outputs, posterior with mean and log_sigma).
        log_prob: (decoder outputs, images) -> log p(x|z), `[B]`.
        beta: the weight of the KL in the loss, or a schedule of it over the steps; the metric
            `elbo` always has weight 1.

    Returns:
        A `LossFn` with metrics `loss`, `reconstruction` (-E log p(x|z), one draw), `kl`, `elbo`.
    """
    return _charged(apply_fn, log_prob, weighted(beta), None)


def charged_vae(
    apply_fn: Callable[..., Any],
    log_prob: Callable[[Any, jax.Array], jax.Array],
    charge: Charge,
) -> LossFn:
    """The reconstruction error and what `charge` makes of the KL of the batch.

    The charge of a mean is not the mean of charges: the loss is one of the whole batch. (For
    `weighted`, of which it is, take `vae`.)

    Args:
        apply_fn: (variables, images, key) -> (decoder outputs, posterior with mean and log_sigma).
        log_prob: (decoder outputs, images) -> log p(x|z), `[B]`.
        charge: one of `aejax.objectives.kl_charges`.

    Returns:
        A `WholeBatch` with the metrics of `vae`.
    """
    return WholeBatch(partial(_charged, apply_fn, log_prob, charge))


def _charged(
    apply_fn: Callable[..., Any],
    log_prob: Callable[[Any, jax.Array], jax.Array],
    charge: Charge,
    axis_name: str | None,
) -> LossFn:
    """The loss with the KL averaged over the batch, and over the axis that the batch is split over.

    A linear charge needs no axis: the mean of its losses is the loss.
    """

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        outputs, posterior = apply_fn({"params": params, **extra}, batch["x"], key)
        mask = batch.get("mask")
        reconstruction = batch_mean(-log_prob(outputs, batch["x"]), mask)
        kl = mean_over(axis_name, mean_kl(posterior, mask))
        loss = reconstruction + charge(kl, step)
        return loss, (elbo_metrics(loss, reconstruction, jnp.sum(kl)), extra)

    return loss_fn


def mean_kl(posterior: DiagonalGaussian, mask: jax.Array | None) -> jax.Array:
    """KL(q(z|x) || N(0, I)) of each dimension, averaged over the batch: `[D]`, nats."""
    return jax.vmap(batch_mean, in_axes=(1, None))(gaussian_kl_per_dimension(*posterior), mask)
