"""The evidence lower bound with the KL in closed form, its weight constant or scheduled."""

import dataclasses
from typing import ClassVar

import jax
import optax

from aejax import schedules
from aejax.axes import per_example
from aejax.models.model import Bound
from aejax.objectives.objective import Objective, Terms
from aejax.settings import setting
from aejax.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elbo(Objective):
    """-E[log p(x|z)] + beta KL(q(z|x) || p(z)), nats; one draw of z.

    Kingma & Welling 2014 (arXiv 1312.6114), equation 10; beta as in Higgins et al. 2017.
    """

    name: ClassVar[str] = "elbo"
    beta: float = setting(1.0, at_least=0)
    """Weight of the KL in the loss."""

    def weight(self, step: jax.Array) -> jax.Array | float:
        """The KL's weight at a step."""
        return self.beta

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, the log-likelihood and the KL."""
        posterior = model.posterior(batch)
        log_likelihood = model.log_likelihood(batch, posterior.sample(key))
        kl = per_example(posterior.kl(model.prior(batch)))
        loss = self.weight(step) * kl - log_likelihood
        return Terms(loss=loss, log_likelihood=log_likelihood, kl=kl)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmUp(Elbo):
    """The ELBO with the KL's weight raised from 0 to beta in a straight line.

    Sonderby et al. 2016 (arXiv 1602.02282).
    """

    name: ClassVar[str] = "warm_up"
    by_length: ClassVar[bool] = True
    rank_by: ClassVar[str] = "elbo"
    beta: float = setting(1.0, at_least=0)
    """Weight of the KL after the rise."""
    rise: float = setting(0.25, above=0, at_most=1)
    """Share of the training over which the weight rises."""

    def weight(self, step: jax.Array) -> jax.Array | float:
        """The KL's weight at a step."""
        steps = max(1, round(self.rise * self.steps()))
        return optax.linear_schedule(0.0, self.beta, steps)(step)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cyclical(Elbo):
    """The ELBO with the KL's weight raised from 0 to beta again and again.

    Fu et al. 2019 (arXiv 1903.10145), equation 6.
    """

    name: ClassVar[str] = "cyclical"
    by_length: ClassVar[bool] = True
    rank_by: ClassVar[str] = "elbo"
    beta: float = setting(1.0, at_least=0)
    """Weight of the KL at the end of a rise."""
    cycles: int = setting(4, at_least=1)
    """How many rises."""
    rise: float = setting(0.5, above=0, at_most=1)
    """Share of a cycle over which the weight rises."""

    def weight(self, step: jax.Array) -> jax.Array | float:
        """The KL's weight at a step."""
        return schedules.cyclical(self.beta, self.steps(), self.cycles, self.rise)(step)
