"""Objectives that bend the batch's mean KL: what is charged of a mean is no mean of charges."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from aejax.models.model import Bound
from aejax.objectives.objective import Objective, Terms, batch_mean, mean_over
from aejax.settings import setting
from aejax.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Charged(Objective):
    """-E[log p(x|z)] and what `charge` makes of the KL, averaged over the whole batch."""

    whole_batch: ClassVar[bool] = True

    def charge(self, kl: jax.Array, step: jax.Array) -> jax.Array:
        """The KL of each latent dimension `[D]`, averaged over the batch, nats -> nats."""
        raise NotImplementedError

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss with the charge, the log-likelihood and the KL as it is."""
        posterior = model.posterior(batch)
        log_likelihood = model.log_likelihood(batch, posterior.sample(key))
        kl = posterior.kl_per_dimension(model.prior(batch))
        kl = kl.reshape(len(kl), -1)  # of each position, where an example has several
        mean = mean_over(self.axis_name, batch_mean(kl, batch.get("mask")))
        loss = self.charge(mean, step) - log_likelihood
        return Terms(loss=loss, log_likelihood=log_likelihood, kl=jnp.sum(kl, axis=-1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capacity(Charged):
    """Gamma times the distance of the KL from a capacity, which is raised from 0.

    Burgess et al. 2018 (arXiv 1804.03599), equation 8.
    """

    name: ClassVar[str] = "capacity"
    by_length: ClassVar[bool] = True
    rank_by: ClassVar[str] = "elbo"
    gamma: float = setting(10.0, at_least=0)
    """Weight of the KL's distance from the capacity."""
    nats: float = setting(25.0, at_least=0)
    """The capacity at the end."""
    rise: float = setting(0.5, above=0, at_most=1)
    """Share of the training over which the capacity rises."""

    def charge(self, kl: jax.Array, step: jax.Array) -> jax.Array:
        """Gamma |KL - capacity|."""
        steps = max(1, round(self.rise * self.steps()))
        capacity = optax.linear_schedule(0.0, self.nats, steps)(step)
        return self.gamma * jnp.abs(jnp.sum(kl) - capacity)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreeBits(Charged):
    """The ELBO with some KL for nothing.

    Kingma et al. 2016 (arXiv 1606.04934), equation 15, a group a dimension.
    """

    name: ClassVar[str] = "free_bits"
    nats: float = setting(0.5, at_least=0)
    """The KL that costs nothing."""
    per: Literal["dimension", "image"] = "dimension"
    """Whether each latent dimension has as much, or all together."""

    def charge(self, kl: jax.Array, step: jax.Array) -> jax.Array:
        """The KL, but no dimension, or not all together, below what is free."""
        if self.per == "image":
            return jnp.maximum(jnp.sum(kl), self.nats)
        return jnp.sum(jnp.maximum(kl, self.nats))
