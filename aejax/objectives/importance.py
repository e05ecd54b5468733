"""Objectives from K draws of the posterior: importance-weighted bounds and their gradients."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from aejax.bounds import elbo, iwae_bound
from aejax.estimators import (
    doubly_reparameterized_bound,
    importance_weights,
    miwae_weights,
    two_gradient_bound,
)
from aejax.generative import LatentVariableModel
from aejax.latents import DiagonalGaussian
from aejax.objectives.loss import batch_mean, elbo_metrics
from aejax.types import Batch, LossFn, Metrics

Bound = Callable[[jax.Array], jax.Array]
Pairs = Callable[[Any, jax.Array, DiagonalGaussian, jax.Array], tuple[jax.Array, jax.Array]]


def importance_weighted(model: LatentVariableModel, samples: int, bound: Bound) -> LossFn:
    """Minus a bound of K draws: `bounds.iwae_bound`, `elbo`, or one of their kin.

    Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), its gradient by reparameterisation.

    Args:
        model: the model's functions; its prior may be learned.
        samples: K, draws of z for each image.
        bound: log weights `[K, B]` -> `[B]`.

    Returns:
        A `LossFn` with metrics `loss`, `reconstruction` (-E log p(x|z)), `kl` and `elbo`, sampled
        by the same draws, and `iwae`, the importance-weighted bound.

    Raises:
        ValueError: if `samples` is less than 1.
    """

    def estimate(
        params: Any, x: jax.Array, posterior: DiagonalGaussian, z: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        log_weights = model.log_joint(params, x, z) - posterior.log_prob(z)
        return bound(log_weights), log_weights

    return _from_draws(model, samples, estimate)


def sticking_the_landing(model: LatentVariableModel, samples: int, bound: Bound) -> LossFn:
    """`importance_weighted` without the score of q, whose mean is zero for the ELBO.

    Roeder, Wu & Duvenaud 2017 (arXiv 1703.09194), equation 7: the gradient's variance is zero
    where q is the posterior. It is unbiased for `elbo`; for `iwae_bound` it is not (Tucker et al.
    2019), for which `doubly_reparameterized` is the remedy. Arguments, metrics and errors are those
    of `importance_weighted`.
    """

    def estimate(
        params: Any, x: jax.Array, posterior: DiagonalGaussian, z: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        held = jax.lax.stop_gradient(posterior)
        log_weights = model.log_joint(params, x, z) - held.log_prob(z)
        return bound(log_weights), log_weights

    return _from_draws(model, samples, estimate)


def doubly_reparameterized(model: LatentVariableModel, samples: int) -> LossFn:
    """Minus the importance-weighted bound, the inference net's gradient reparameterised twice.

    Tucker et al. 2019 (arXiv 1810.04152), equation 8: unbiased, and its signal does not fall below
    its noise as K grows. The generative model's gradient, and the metrics, are those of
    `importance_weighted` with `iwae_bound`.
    """

    def log_weights(generative: Any, z: jax.Array) -> jax.Array:
        params, x, held = generative
        return model.log_joint(params, x, z) - held.log_prob(z)

    def estimate(
        params: Any, x: jax.Array, posterior: DiagonalGaussian, z: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        generative = params, x, jax.lax.stop_gradient(posterior)
        return doubly_reparameterized_bound(log_weights, generative, z)

    return _from_draws(model, samples, estimate)


def partially_importance_weighted(model: LatentVariableModel, samples: int, groups: int) -> LossFn:
    """PIWAE: the generative model learns by the bound of all K draws, the net by that of groups.

    Rainforth et al. 2018 (arXiv 1802.04537), section 5: more draws make the generative model's
    gradient better and the inference net's worse.

    Args:
        model: the model's functions.
        samples: K.
        groups: how many groups the draws are in for the inference net's `miwae_bound`.

    Raises:
        ValueError: if `groups` does not divide `samples`.
    """
    if groups < 1 or samples % groups:
        raise ValueError(f"{groups} groups do not divide {samples} samples")

    def log_weights(generative: Any, inference: Any) -> jax.Array:
        (params, x), (posterior, z) = generative, inference
        return model.log_joint(params, x, z) - posterior.log_prob(z)

    def estimate(
        params: Any, x: jax.Array, posterior: DiagonalGaussian, z: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        of_groups = partial(miwae_weights, groups=groups)
        return two_gradient_bound(
            log_weights, importance_weights, of_groups, (params, x), (posterior, z)
        )

    return _from_draws(model, samples, estimate)


def _from_draws(model: LatentVariableModel, samples: int, estimate: Pairs) -> LossFn:
    """The `LossFn` of `estimate(params, x, posterior, z) -> (bound [B], log weights [K, B])`."""
    if samples < 1:
        raise ValueError(f"{samples} samples: give at least 1")

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        x, mask = batch["x"], batch.get("mask")
        posterior = model.encode(params, x)
        z = posterior.samples(key, samples)
        bounds, log_weights = estimate(params, x, posterior, z)
        loss = batch_mean(-bounds, mask)
        log_weights = jax.lax.stop_gradient(log_weights)
        kl = batch_mean(elbo(posterior.log_prob(z) - model.prior(params).log_prob(z)), mask)
        reconstruction = batch_mean(-elbo(log_weights), mask) - kl
        metrics = elbo_metrics(loss, reconstruction, kl)
        return loss, (metrics | {"iwae": batch_mean(iwae_bound(log_weights), mask)}, extra)

    return loss_fn
