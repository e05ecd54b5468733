"""Builders of a `LossFn`: the one place where losses are averaged over the batch.

    loss_fn(params, extra, batch, key, step) -> (loss, (metrics, extra))

`batch` is a dict with "image" `[B, H, W, C]` in [0, 1] and, in an evaluation's last batch, "mask"
`[B]`, False for the rows that only fill it up. The loss and its named parts are nats per example.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from aejax.divergences import gaussian_kl

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
LossFn = Callable[[Any, Any, Batch, jax.Array, jax.Array], tuple[jax.Array, tuple[Metrics, Any]]]


def batch_mean(values: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The mean of `values` `[B]` over the rows where `mask` `[B]` is True (all, without a mask)."""
    if mask is None:
        return jnp.mean(values)
    weights = mask.astype(values.dtype)
    # where, not a product: a row that only fills the batch may hold a NaN.
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(jnp.sum(weights), 1)


def vae(
    apply_fn: Callable[..., Any],
    log_prob: Callable[[Any, jax.Array], jax.Array],
    *,
    beta: float = 1.0,
) -> LossFn:
    """The negative ELBO with the KL in closed form, weighed by beta.

    Kingma & Welling 2014 (arXiv 1312.6114), equation 10; beta as in Higgins et al. 2017.

    Args:
        apply_fn: (variables, images, key) -> (decoder outputs, posterior with mean and log_sigma).
        log_prob: (decoder outputs, images) -> log p(x|z), `[B]`.
        beta: the weight of the KL in the loss; the metric `elbo` always has weight 1.

    Returns:
        A `LossFn` with metrics `loss`, `reconstruction` (-E log p(x|z), one draw), `kl`, `elbo`.
    """

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        outputs, posterior = apply_fn({"params": params, **extra}, batch["image"], key)
        mask = batch.get("mask")
        reconstruction = batch_mean(-log_prob(outputs, batch["image"]), mask)
        kl = batch_mean(gaussian_kl(posterior.mean, posterior.log_sigma), mask)
        loss = reconstruction + beta * kl
        metrics = {
            "loss": loss,
            "reconstruction": reconstruction,
            "kl": kl,
            "elbo": -(reconstruction + kl),
        }
        return loss, (metrics, extra)

    return loss_fn


def autoencoder(
    apply_fn: Callable[..., Any],
    log_prob: Callable[[Any, jax.Array], jax.Array],
    *,
    corrupt: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> LossFn:
    """The reconstruction error -log p(x|z), summed over pixels.

    Args:
        apply_fn: (variables, images) -> decoder outputs.
        log_prob: (decoder outputs, images) -> log p(x|z), `[B]`.
        corrupt: (key, images) -> what the encoder is given in their place, drawn afresh every
            step; a denoising autoencoder (Vincent et al. 2010).

    Returns:
        A `LossFn` with metrics `loss` and `reconstruction` (equal), and
        `reconstruction_per_pixel`, the same divided by height x width x channels.
    """

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        image = batch["image"]
        given = image if corrupt is None else corrupt(key, image)
        outputs = apply_fn({"params": params, **extra}, given)
        loss = batch_mean(-log_prob(outputs, image), batch.get("mask"))
        pixels = image.size // image.shape[0]
        metrics = {
            "loss": loss,
            "reconstruction": loss,
            "reconstruction_per_pixel": loss / pixels,
        }
        return loss, (metrics, extra)

    return loss_fn


def penalised(
    loss_fn: LossFn, penalty: Callable[[Any, jax.Array, jax.Array], jax.Array], weight: float
) -> LossFn:
    """`loss_fn` plus `weight` times the mean of a penalty.

    Args:
        loss_fn: any; its metrics are kept.
        penalty: (params, images `[B, H, W, C]`, key) -> `[B]`.
        weight: nats per unit of the penalty.

    Returns:
        A `LossFn` with the further metric `penalty`, not weighed.
    """

    def penalised_loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        loss_key, penalty_key = jax.random.split(key)
        loss, (metrics, extra) = loss_fn(params, extra, batch, loss_key, step)
        charge = batch_mean(penalty(params, batch["image"], penalty_key), batch.get("mask"))
        loss = loss + weight * charge
        return loss, (metrics | {"loss": loss, "penalty": charge}, extra)

    return penalised_loss_fn
