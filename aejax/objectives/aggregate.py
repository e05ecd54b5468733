"""Objectives that look at the aggregate posterior q(z), the mean of q(z|x) over the images.

The prior is N(0, I) in all of them. They compare the images of a batch with each other, so that
each is a loss of the whole batch: over a mapped axis the codes of all parts are put together.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from aejax.aggregate_posterior import aggregate_log_probs
from aejax.divergences import inverse_multiquadric, squared_mmd
from aejax.generative import LatentVariableModel
from aejax.latents import standard_normal
from aejax.objectives.elbo import mean_kl
from aejax.objectives.loss import batch_mean, elbo_metrics
from aejax.objectives.whole_batch import WholeBatch, gathered
from aejax.types import Batch, LossFn, Metrics

# Of the kernel, as in Tolstikhin's code, which sums over them: a weight there is a seventh of ours.
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def info_vae(model: LatentVariableModel, *, alpha: float, weight: float) -> LossFn:
    """Reconstruction + (1 - alpha) KL + (alpha + weight - 1) MMD(q(z), p(z)).

    Zhao, Song & Ermon 2019 (arXiv 1706.02262), equation 6, their lambda being `weight`; at alpha 1
    it is the MMD-VAE, at alpha 0 and weight 1 the VAE.

    Args:
        model: its prior must be N(0, I).
        alpha: how much of the mutual information of x and z is not charged.
        weight: nats per unit of the squared MMD, which is at most about 2.

    Returns:
        A `WholeBatch` with the metrics of `vae` and `mmd`, of one draw of z an image.
    """
    return WholeBatch(partial(_info_vae, model, alpha, weight))


def _info_vae(
    model: LatentVariableModel, alpha: float, weight: float, axis_name: str | None
) -> LossFn:
    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        code_key, prior_key = jax.random.split(key)
        x, mask = batch["x"], batch.get("mask")
        posterior = model.encode(params, x)
        z = posterior.sample(code_key)
        reconstruction = batch_mean(-model.likelihood.log_prob(model.decode(params, z), x), mask)
        kl, mmd = jnp.sum(mean_kl(posterior, mask)), _mmd_to_prior(prior_key, z, mask, axis_name)
        loss = reconstruction + (1 - alpha) * kl + (alpha + weight - 1) * mmd
        return loss, (elbo_metrics(loss, reconstruction, kl) | {"mmd": mmd}, extra)

    return loss_fn


def wae_mmd(model: LatentVariableModel, *, weight: float) -> LossFn:
    """Reconstruction + weight MMD(q(z), p(z)) of codes without noise, the means of q(z|x).

    Tolstikhin et al. 2018 (arXiv 1711.01558), algorithm 2.

    Args:
        model: its prior must be N(0, I).
        weight: nats per unit of the squared MMD.

    Returns:
        A `WholeBatch` with metrics `loss`, `reconstruction` and `mmd`.
    """
    return WholeBatch(partial(_wae_mmd, model, weight))


def _wae_mmd(model: LatentVariableModel, weight: float, axis_name: str | None) -> LossFn:
    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        x, mask = batch["x"], batch.get("mask")
        z = model.encode(params, x).mean
        reconstruction = batch_mean(-model.likelihood.log_prob(model.decode(params, z), x), mask)
        mmd = _mmd_to_prior(key, z, mask, axis_name)
        loss = reconstruction + weight * mmd
        return loss, ({"loss": loss, "reconstruction": reconstruction, "mmd": mmd}, extra)

    return loss_fn


def beta_tcvae(model: LatentVariableModel, *, beta: float, images: int) -> LossFn:
    """Reconstruction + mutual information + beta x total correlation + KL of the dimensions.

    Chen et al. 2018 (arXiv 1802.04942), equation 4, with q(z) estimated by their minibatch
    stratified sampling: the three parts sum to the sampled KL.

    Args:
        model: its prior must be N(0, I).
        beta: the weight of the total correlation.
        images: how many the training set has; of another data set, the batch says it as "images".

    Returns:
        A `WholeBatch` with the metrics of `vae`, its KL sampled, and `mutual_information`,
        `total_correlation` and `dimension_kl`, nats.
    """
    return WholeBatch(partial(_beta_tcvae, model, beta, images))


def _beta_tcvae(
    model: LatentVariableModel, beta: float, images: int, axis_name: str | None
) -> LossFn:
    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        x, mask = batch["x"], batch.get("mask")
        posterior = model.encode(params, x)
        z = posterior.sample(key)
        reconstruction = batch_mean(-model.likelihood.log_prob(model.decode(params, z), x), mask)
        z, posterior, mask = gathered(axis_name, (z, posterior, mask))
        of_data = batch.get("num_examples", images)
        log_q, log_product = aggregate_log_probs(z, posterior, of_data, mask)
        parts = {
            "mutual_information": posterior.log_prob(z) - log_q,
            "total_correlation": log_q - log_product,
            "dimension_kl": log_product - model.prior(params).log_prob(z),
        }
        means = {name: batch_mean(values, mask) for name, values in parts.items()}
        kl = sum(means.values(), jnp.zeros(()))
        loss = reconstruction + kl + (beta - 1) * means["total_correlation"]
        return loss, (elbo_metrics(loss, reconstruction, kl) | means, extra)

    return loss_fn


def _mmd_to_prior(
    key: jax.Array, z: jax.Array, mask: jax.Array | None, axis_name: str | None
) -> jax.Array:
    """Squared MMD of codes `[B, D]` to as many draws of N(0, I), the kernel one of many scales."""
    kernels = [inverse_multiquadric(2 * z.shape[-1] * scale) for scale in _SCALES]

    def kernel(squared: jax.Array) -> jax.Array:
        return sum((k(squared) for k in kernels), jnp.zeros(())) / len(kernels)

    draws = standard_normal(z.shape).sample(key)
    z, draws, mask = gathered(axis_name, (z, draws, mask))
    return squared_mmd(z, draws, kernel, mask)
