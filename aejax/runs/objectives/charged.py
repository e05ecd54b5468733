"""Objectives with the KL in closed form, charged in one way or another."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import optax

from aejax import objectives, schedules
from aejax.generative import LatentVariableModel
from aejax.objectives import kl_charges
from aejax.runs.objectives.objective import Objective, Training, not_negative, share
from aejax.traced import is_known
from aejax.types import LossFn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elbo(Objective):
    """The evidence lower bound, its KL in closed form where the prior is N(0, I)."""

    name: ClassVar[str] = "elbo"
    beta: float = 1.0
    """Weight of the KL in the loss."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        not_negative("--beta", self.beta)
        return objectives.vae(*_apply(model), beta=self.beta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmUp(Objective):
    """The ELBO with the KL's weight raised from 0 to beta in a straight line."""

    name: ClassVar[str] = "warm_up"
    by_length: ClassVar[bool] = True
    beta: float = 1.0
    """Weight of the KL after the rise."""
    rise: float = 0.25
    """Share of the training over which the weight rises."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        not_negative("--beta", self.beta)
        share("--rise", self.rise)
        steps = max(1, round(self.rise * training.steps))
        beta = optax.linear_schedule(0.0, self.beta, steps)
        return objectives.vae(*_apply(model), beta=beta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cyclical(Objective):
    """The ELBO with the KL's weight raised from 0 to beta again and again (Fu et al. 2019)."""

    name: ClassVar[str] = "cyclical"
    by_length: ClassVar[bool] = True
    beta: float = 1.0
    """Weight of the KL at the end of a rise."""
    cycles: int = 4
    """How many rises."""
    rise: float = 0.5
    """Share of a cycle over which the weight rises."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        not_negative("--beta", self.beta)
        share("--rise", self.rise)
        beta = schedules.cyclical(self.beta, training.steps, self.cycles, self.rise)
        return objectives.vae(*_apply(model), beta=beta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capacity(Objective):
    """The KL held at a capacity that is raised from 0 (Burgess et al. 2018)."""

    name: ClassVar[str] = "capacity"
    by_length: ClassVar[bool] = True
    gamma: float = 10.0
    """Weight of the KL's distance from the capacity."""
    nats: float = 25.0
    """The capacity at the end."""
    rise: float = 0.5
    """Share of the training over which the capacity rises."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        not_negative("--gamma", self.gamma)
        not_negative("--nats", self.nats)
        share("--rise", self.rise)
        steps = max(1, round(self.rise * training.steps))
        nats = optax.linear_schedule(0.0, self.nats, steps)
        return _charged(model, kl_charges.capacity(self.gamma, nats))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreeBits(Objective):
    """The ELBO with some KL for nothing (Kingma et al. 2016)."""

    name: ClassVar[str] = "free_bits"
    nats: float = 0.5
    """The KL that costs nothing."""
    per: Literal["dimension", "image"] = "dimension"
    """Whether each latent dimension has as much, or all together."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        not_negative("--nats", self.nats)
        makers = {"dimension": kl_charges.free_bits, "image": kl_charges.total_free_bits}
        return _charged(model, makers[self.per](self.nats))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geco(Objective):
    """The least KL at a given reconstruction error (Rezende & Viola 2018)."""

    name: ClassVar[str] = "geco"
    tolerance: float = 110.0
    """The reconstruction error, -log p(x|z), that is asked for: nats an image."""
    rate: float = 1e-4
    """Of the multiplier's logarithm: per step and nat that the error is off."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        not_negative("--rate", self.rate)
        if is_known(self.tolerance) and not math.isfinite(self.tolerance):
            raise ValueError(f"--tolerance {self.tolerance} is not finite")
        return objectives.geco(*_apply(model), tolerance=self.tolerance, rate=self.rate)

    def score(self, metrics: Mapping[str, float]) -> float:
        return -metrics["elbo"]  # the multiplier changes what the loss means

    def extra(self) -> Any:
        return objectives.geco_extra()


def _apply(model: LatentVariableModel) -> tuple[Any, Any]:
    def apply_fn(variables: Any, x: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        posterior = model.encode(variables["params"], x)
        return model.decode(variables["params"], posterior.sample(key)), posterior

    return apply_fn, model.likelihood.log_prob


def _charged(model: LatentVariableModel, charge: kl_charges.Charge) -> LossFn:
    return objectives.charged_vae(*_apply(model), charge)
