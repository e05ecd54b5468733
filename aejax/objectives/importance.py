"""Objectives from K draws of the posterior, for any prior: bounds and their gradients."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax

from aejax import bounds
from aejax.estimators import miwae_weights, scaled_gradient, two_gradient_bound
from aejax.models.model import Bound, held, log_joint, log_q
from aejax.objectives.objective import Objective, Terms
from aejax.settings import setting
from aejax.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromDraws(Objective):
    """Minus a bound of log p(x) from K draws of q(z|x); metrics are sampled by the same draws.

    Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), its gradient by reparameterisation. The
    term "iwae" is the importance-weighted bound, whatever is minimised.
    """

    any_prior: ClassVar[bool] = True
    samples: int = setting(1, at_least=1)
    """Draws of z for each image."""

    def bound(self, log_weights: jax.Array) -> jax.Array:
        """Log weights `[K, B]` -> `[B]`, nats."""
        raise NotImplementedError

    def estimate(
        self, model: Bound, batch: Batch, posterior: Any, z: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The bound `[B]`, whose gradient is taken, and the log weights `[K, B]`."""
        log_weights = log_joint(model, batch, z) - log_q(posterior, z)
        return self.bound(log_weights), log_weights

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, the sampled log-likelihood and KL, and the importance-weighted bound."""
        posterior = model.posterior(batch)
        z = posterior.samples(key, self.samples)
        found, log_weights = self.estimate(model, batch, posterior, z)
        log_weights = jax.lax.stop_gradient(log_weights)
        kl = bounds.elbo(log_q(posterior, z) - log_q(model.prior(batch), z))
        log_likelihood = bounds.elbo(log_weights) + kl
        iwae = bounds.iwae_bound(log_weights)
        return Terms(loss=-found, log_likelihood=log_likelihood, kl=kl, iwae=iwae)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampled(FromDraws):
    """The ELBO with everything sampled, the KL too: "VAE" in the IWAE paper.

    The gradient "landing" is without the score of q, whose mean is zero: its variance is zero where
    q is the posterior (Roeder, Wu & Duvenaud 2017, arXiv 1703.09194, equation 7).
    """

    name: ClassVar[str] = "sampled"
    gradient: Literal["plain", "landing"] = "plain"
    """By reparameterisation, or without the score of q (Roeder et al. 2017)."""

    def bound(self, log_weights: jax.Array) -> jax.Array:
        """The mean log weight."""
        return bounds.elbo(log_weights)

    def estimate(
        self, model: Bound, batch: Batch, posterior: Any, z: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """With q held in its density for the landing gradient."""
        if self.gradient == "landing":
            posterior = jax.lax.stop_gradient(posterior)
        return super().estimate(model, batch, posterior, z)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Iwae(FromDraws):
    """The importance-weighted bound (Burda et al. 2016).

    The gradient "double" is reparameterised twice for the inference net: unbiased, and its signal
    does not fall below its noise as K grows (Tucker et al. 2019, arXiv 1810.04152, equation 8).
    """

    name: ClassVar[str] = "iwae"
    samples: int = setting(50, at_least=1)
    """Draws of z for each image."""
    gradient: Literal["plain", "double"] = "plain"
    """By reparameterisation, or reparameterised twice: DReG (Tucker et al. 2019)."""

    def bound(self, log_weights: jax.Array) -> jax.Array:
        """The log of the mean weight."""
        return bounds.iwae_bound(log_weights)

    def estimate(
        self, model: Bound, batch: Batch, posterior: Any, z: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """With q held in its density and z weighed twice for the double gradient."""
        if self.gradient == "double":
            posterior = jax.lax.stop_gradient(posterior)
            # Its values alone, which the compiler then has from the pass that is differentiated.
            values = log_joint(held(model), batch, jax.lax.stop_gradient(z))
            weights = jax.nn.softmax(values - log_q(posterior, jax.lax.stop_gradient(z)), axis=0)
            z = jax.tree.map(lambda a: scaled_gradient(a, weights), z)
        return super().estimate(model, batch, posterior, z)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouped(FromDraws):
    """An objective whose draws are in groups of equal size."""

    samples: int = setting(64, at_least=1)
    """Draws of z for each image."""
    groups: int = setting(8, at_least=1)
    """Groups that they are in."""

    def check(self) -> None:
        """Raises a `ValueError` unless the groups are of equal size."""
        if self.samples % self.groups:
            raise ValueError(f"--groups {self.groups} does not divide --samples {self.samples}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Miwae(Grouped):
    """The mean of importance-weighted bounds of groups of draws (Rainforth et al. 2018)."""

    name: ClassVar[str] = "miwae"

    def bound(self, log_weights: jax.Array) -> jax.Array:
        """The mean of the groups' bounds."""
        return bounds.miwae_bound(log_weights, self.groups)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piwae(Grouped):
    """The decoder learns by the bound of all draws, the encoder by that of groups.

    Rainforth et al. 2018 (arXiv 1802.04537), section 5: more draws make the generative model's
    gradient better and the inference net's worse.
    """

    name: ClassVar[str] = "piwae"

    def estimate(
        self, model: Bound, batch: Batch, posterior: Any, z: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The bound of all draws, with either gradient."""
        fixed, at = jax.lax.stop_gradient((posterior, z))
        by_model = log_joint(model, batch, at) - log_q(fixed, at)
        by_inference = log_joint(held(model), batch, z) - log_q(posterior, z)
        weights = miwae_weights(jax.lax.stop_gradient(by_model), self.groups)
        return two_gradient_bound(by_model, by_inference, weights), by_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ciwae(FromDraws):
    """Between the ELBO and the importance-weighted bound (Rainforth et al. 2018)."""

    name: ClassVar[str] = "ciwae"
    samples: int = setting(64, at_least=1)
    """Draws of z for each image."""
    mix: float = setting(0.05, at_least=0, at_most=1)
    """The ELBO's share."""

    def bound(self, log_weights: jax.Array) -> jax.Array:
        """The mixture."""
        return bounds.ciwae_bound(log_weights, self.mix)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Renyi(FromDraws):
    """The variational Renyi bound (Li & Turner 2016)."""

    name: ClassVar[str] = "renyi"
    samples: int = setting(50, at_least=1)
    """Draws of z for each image."""
    alpha: float = setting(0.5)
    """Order: 0 is the importance-weighted bound, 1 the ELBO."""

    def bound(self, log_weights: jax.Array) -> jax.Array:
        """The bound of order alpha."""
        return bounds.renyi_bound(log_weights, self.alpha)
