"""Objectives that look at the aggregate posterior q(z), the mean of q(z|x) over the examples.

The prior is N(0, I) in all of them. They compare the rows of a batch with each other, so that each
is a loss of the whole batch: over a mapped axis the codes of all parts are put together.
"""

import dataclasses
from typing import ClassVar, TypeVar

import jax
import jax.numpy as jnp

from aejax.aggregate_posterior import aggregate_log_probs
from aejax.axes import per_example
from aejax.divergences import inverse_multiquadric, squared_mmd
from aejax.latents import standard_normal
from aejax.models.model import Bound
from aejax.objectives.objective import Objective, Terms, Training, gathered
from aejax.settings import setting
from aejax.types import Batch

Self = TypeVar("Self", bound="Pairs")

# Of the kernel, as in Tolstikhin's code, which sums over them: a weight there is a seventh of ours.
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs(Objective):
    """An objective that charges the squared MMD of the codes to the prior N(0, I)."""

    whole_batch: ClassVar[bool] = True
    weight: float = setting(1000.0, at_least=0)
    """Nats per unit of squared MMD, which is at most about 2."""

    def during(self: Self, training: Training) -> Self:
        """The objective; a `ValueError` for batches of one row, of which an MMD is not defined."""
        if training.batch_size < 2:
            raise ValueError(
                f"a batch of {training.batch_size} has no pairs of codes: give a larger "
                "--batch-size"
            )
        return super().during(training)

    def mmd(self, key: jax.Array, z: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Squared MMD of codes `[B, ...]` to as many draws of N(0, I), by many kernels."""
        z = z.reshape(len(z), -1)
        kernels = [inverse_multiquadric(2 * z.shape[-1] * scale) for scale in _SCALES]

        def kernel(squared: jax.Array) -> jax.Array:
            return sum((k(squared) for k in kernels), jnp.zeros(())) / len(kernels)

        draws = standard_normal(z.shape).sample(key)
        z, draws, mask = gathered(self.axis_name, (z, draws, mask))
        return squared_mmd(z, draws, kernel, mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfoVae(Pairs):
    """-E log p(x|z) + (1 - alpha) KL + (alpha + weight - 1) MMD(q(z), p(z)).

    Zhao, Song & Ermon 2019 (arXiv 1706.02262), equation 6, their lambda being `weight`; at alpha 1
    it is the MMD-VAE, at alpha 0 and weight 1 the VAE. One draw of z an example.
    """

    name: ClassVar[str] = "info_vae"
    alpha: float = setting(1.0)
    """How much of the mutual information of x and z costs nothing."""

    def check(self) -> None:
        """Raises a `ValueError` where KL or MMD would gain."""
        if not 1 - self.weight <= self.alpha <= 1:
            raise ValueError(
                f"--alpha {self.alpha} is not within 1 - weight and 1: KL or MMD would gain"
            )

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, the log-likelihood, the KL and the MMD of the batch."""
        code_key, prior_key = jax.random.split(key)
        posterior = model.posterior(batch)
        z = posterior.sample(code_key)
        log_likelihood = model.log_likelihood(batch, z)
        kl = per_example(posterior.kl(model.prior(batch)))
        mmd = self.mmd(prior_key, z, batch.get("mask"))
        loss = (1 - self.alpha) * kl - log_likelihood + (self.alpha + self.weight - 1) * mmd
        return Terms(loss=loss, log_likelihood=log_likelihood, kl=kl, mmd=mmd)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaeMmd(Pairs):
    """-log p(x|z) + weight MMD(q(z), p(z)) of codes without noise, the means of q(z|x).

    Tolstikhin et al. 2018 (arXiv 1711.01558), algorithm 2: the Wasserstein autoencoder.
    """

    name: ClassVar[str] = "wae_mmd"
    variational: ClassVar[bool] = False

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, the log-likelihood and the MMD of the batch."""
        z = model.posterior(batch).mean
        log_likelihood = model.log_likelihood(batch, z)
        mmd = self.mmd(key, z, batch.get("mask"))
        loss = self.weight * mmd - log_likelihood
        return Terms(loss=loss, log_likelihood=log_likelihood, mmd=mmd)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BetaTcVae(Objective):
    """-E log p(x|z) + mutual information + beta x total correlation + KL of the dimensions.

    Chen et al. 2018 (arXiv 1802.04942), equation 4, with q(z) estimated by their minibatch
    stratified sampling: the three parts sum to the sampled KL. How many examples the data set has
    is known of the training, and said by an evaluation's batch.
    """

    name: ClassVar[str] = "beta_tcvae"
    whole_batch: ClassVar[bool] = True
    beta: float = setting(6.0, at_least=0)
    """Weight of the total correlation."""

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, its parts `mutual_information`, `total_correlation`, `dimension_kl`, the KL."""
        posterior = model.posterior(batch)
        z = posterior.sample(key)
        log_likelihood = model.log_likelihood(batch, z)
        rows = gathered(self.axis_name, (z, posterior, batch.get("mask")))
        log_q, log_product = aggregate_log_probs(rows[0], rows[1], self._examples(batch), rows[2])
        # What is of the gathered rows is put back to those of this part.
        own = self._own(len(z), (log_q, log_product))
        parts = {
            "mutual_information": posterior.log_prob(z) - own[0],
            "total_correlation": own[0] - own[1],
            "dimension_kl": own[1] - model.prior(batch).log_prob(z),
        }
        kl = sum(parts.values(), jnp.zeros_like(log_likelihood))
        loss = kl + (self.beta - 1) * parts["total_correlation"] - log_likelihood
        return Terms(loss=loss, log_likelihood=log_likelihood, kl=kl, **parts)

    def _examples(self, batch: Batch) -> int | jax.Array:
        if "num_examples" in batch:
            return batch["num_examples"]
        if self.training is None:
            raise ValueError("beta_tcvae depends on the data set's size: give .during(...)")
        return self.training.examples

    def _own(self, count: int, rows: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """The rows of this part of the axis."""
        if self.axis_name is None:
            return rows
        start = count * jax.lax.axis_index(self.axis_name)
        return tuple(jax.lax.dynamic_slice_in_dim(a, start, count) for a in rows)
