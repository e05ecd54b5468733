"""The reconstruction error, and what is put around a loss: a penalty, images drawn anew."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from aejax.dequantization import dequantize
from aejax.objectives.loss import batch_mean
from aejax.objectives.whole_batch import around
from aejax.types import Batch, LossFn, Metrics


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
        image = batch["x"]
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
    return around(loss_fn, partial(_penalised, penalty=penalty, weight=weight))


def _penalised(
    loss_fn: LossFn, penalty: Callable[[Any, jax.Array, jax.Array], jax.Array], weight: float
) -> LossFn:
    def penalised_loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        loss_key, penalty_key = jax.random.split(key)
        loss, (metrics, extra) = loss_fn(params, extra, batch, loss_key, step)
        charge = batch_mean(penalty(params, batch["x"], penalty_key), batch.get("mask"))
        loss = loss + weight * charge
        return loss, (metrics | {"loss": loss, "penalty": charge}, extra)

    return penalised_loss_fn


def dynamically_binarized(loss_fn: LossFn) -> LossFn:
    """`loss_fn` on images of zeros and ones, drawn afresh at every step with the pixels' chances.

    Dynamic binarisation, as in Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), section 5.
    Images that are binary already stay as they are.
    """

    def drawn(key: jax.Array, image: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key, image).astype(image.dtype)

    return around(loss_fn, partial(_of_drawn, drawn))


def dequantized(loss_fn: LossFn) -> LossFn:
    """`loss_fn` on images whose pixels are drawn uniformly within their levels at every step.

    See `aejax.dequantization.dequantize`: what a density p(x|z) is trained and measured on, so that
    it can be compared with the probabilities of a discrete one.
    """
    return around(loss_fn, partial(_of_drawn, dequantize))


def _of_drawn(draw: Callable[[jax.Array, jax.Array], jax.Array], loss_fn: LossFn) -> LossFn:
    """`loss_fn` on what `draw(key, images)` makes of the images."""

    def drawn_loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        loss_key, image_key = jax.random.split(key)
        drawn = draw(image_key, batch["x"])
        return loss_fn(params, extra, batch | {"x": drawn}, loss_key, step)

    return drawn_loss_fn
