"""GECO: the least KL at a reconstruction error that is asked for."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from aejax.objectives.elbo import mean_kl
from aejax.objectives.loss import batch_mean, elbo_metrics
from aejax.types import Batch, LossFn, Metrics

_KEPT = 0.99  # of the constraint's moving average, a step; the paper's
_LIMIT = math.log(1e6)  # of |log multiplier|: a constraint that cannot be met stays finite


def geco(
    apply_fn: Callable[..., Any],
    log_prob: Callable[[Any, jax.Array], jax.Array],
    *,
    tolerance: float,
    rate: float,
) -> LossFn:
    """KL plus a multiplier times the constraint -E log p(x|z) - tolerance <= 0.

    After algorithm 1 of Rezende & Viola 2018 (arXiv 1810.00597): the multiplier grows by a factor
    exp(rate x constraint) a step, by the constraint's moving average. It is kept in
    `extra["geco"]`, which begins as `geco_extra()`. What is not theirs: their average begins as the
    first batch's constraint, ours at 0 and divided by 1 - 0.99^steps, as Adam's, so that the first
    batch is not kept longer than the others; the logarithm of the multiplier stays within that of
    a million; and the value of the loss has the batch's constraint where theirs has the average,
    with the same gradient.

    The update is linear in the constraint, so that over a mapped axis, and accumulated, it is that
    of the whole batch (within the multiplier's limits).

    Args:
        apply_fn: (variables, images, key) -> (decoder outputs, posterior with mean and log_sigma).
        log_prob: (decoder outputs, images) -> log p(x|z), `[B]`.
        tolerance: nats per example.
        rate: of the multiplier's logarithm, per nat and step.

    Returns:
        A `LossFn` with the metrics of `vae` and `multiplier`.
    """

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        outputs, posterior = apply_fn({"params": params}, batch["x"], key)
        mask = batch.get("mask")
        reconstruction = batch_mean(-log_prob(outputs, batch["x"]), mask)
        kl = jnp.sum(mean_kl(posterior, mask))
        constraint = reconstruction - tolerance
        multiplier = jnp.exp(extra["geco"]["log_multiplier"])
        loss = kl + multiplier * constraint
        metrics = elbo_metrics(loss, reconstruction, kl) | {"multiplier": multiplier}
        updated = _update(extra["geco"], jax.lax.stop_gradient(constraint), rate)
        return loss, (metrics, {"geco": updated})

    return loss_fn


def geco_extra() -> dict[str, dict[str, jax.Array]]:
    """What `extra` is before the first step: a multiplier of 1."""
    zero = jnp.zeros((), jnp.float32)
    return {"geco": {"log_multiplier": zero, "average": zero, "steps": zero}}


def _update(
    state: dict[str, jax.Array], constraint: jax.Array, rate: float
) -> dict[str, jax.Array]:
    steps = state["steps"] + 1
    average = _KEPT * state["average"] + (1 - _KEPT) * constraint
    # Divided by 1 - kept^steps as in Adam: an average begun at 0 would say that all is well.
    log_multiplier = state["log_multiplier"] + rate * average / -jnp.expm1(steps * math.log(_KEPT))
    return {
        "log_multiplier": jnp.clip(log_multiplier, -_LIMIT, _LIMIT),
        "average": average,
        "steps": steps,
    }
