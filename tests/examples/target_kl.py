"""An objective with a hyperparameter: each example's KL is drawn to a target."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from aejax.models import Bound
from aejax.objectives import OBJECTIVES, Objective, Terms
from aejax.settings import setting
from aejax.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetKl(Objective):
    """-E[log p(x|z)] + |KL(q(z|x) || p(z)) - target|, nats, for each example by itself."""

    name: ClassVar[str] = "target_kl"
    target: float = setting(5.0, at_least=0)
    """The KL that costs nothing."""

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, the log-likelihood and the KL."""
        posterior = model.posterior(batch)
        log_likelihood = model.log_likelihood(batch, posterior.sample(key))
        kl = posterior.kl(model.prior(batch))
        loss = jnp.abs(kl - self.target) - log_likelihood
        return Terms(loss=loss, log_likelihood=log_likelihood, kl=kl)


OBJECTIVES[TargetKl.name] = TargetKl
