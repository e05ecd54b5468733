"""Objectives from several draws of z, for any prior."""

import dataclasses
import math
from functools import partial
from typing import ClassVar, Literal

from aejax import bounds, objectives
from aejax.generative import LatentVariableModel
from aejax.runs.objectives.objective import Objective, Training, divides
from aejax.traced import is_known
from aejax.types import LossFn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampled(Objective):
    """The ELBO with everything sampled, the KL too: "VAE" in the IWAE paper."""

    name: ClassVar[str] = "sampled"
    any_prior: ClassVar[bool] = True
    samples: int = 1
    """Draws of z for each image."""
    gradient: Literal["plain", "landing"] = "plain"
    """By reparameterisation, or without the score of q (Roeder et al. 2017)."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        makers = {
            "plain": objectives.importance_weighted,
            "landing": objectives.sticking_the_landing,
        }
        return makers[self.gradient](model, self.samples, bounds.elbo)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Iwae(Objective):
    """The importance-weighted bound (Burda et al. 2016)."""

    name: ClassVar[str] = "iwae"
    any_prior: ClassVar[bool] = True
    samples: int = 50
    """Draws of z for each image."""
    gradient: Literal["plain", "double"] = "plain"
    """By reparameterisation, or reparameterised twice: DReG (Tucker et al. 2019)."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        if self.gradient == "double":
            return objectives.doubly_reparameterized(model, self.samples)
        return objectives.importance_weighted(model, self.samples, bounds.iwae_bound)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Miwae(Objective):
    """The mean of importance-weighted bounds of groups of draws (Rainforth et al. 2018)."""

    name: ClassVar[str] = "miwae"
    any_prior: ClassVar[bool] = True
    samples: int = 64
    """Draws of z for each image."""
    groups: int = 8
    """Groups that they are in."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        divides(self.groups, self.samples)
        bound = partial(bounds.miwae_bound, groups=self.groups)
        return objectives.importance_weighted(model, self.samples, bound)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piwae(Objective):
    """IWAE for the decoder, MIWAE for the encoder (Rainforth et al. 2018)."""

    name: ClassVar[str] = "piwae"
    any_prior: ClassVar[bool] = True
    samples: int = 64
    """Draws of z for each image."""
    groups: int = 8
    """Groups that they are in for the encoder."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        divides(self.groups, self.samples)
        return objectives.partially_importance_weighted(model, self.samples, self.groups)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ciwae(Objective):
    """Between the ELBO and the importance-weighted bound (Rainforth et al. 2018)."""

    name: ClassVar[str] = "ciwae"
    any_prior: ClassVar[bool] = True
    samples: int = 64
    """Draws of z for each image."""
    mix: float = 0.05
    """The ELBO's share."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        if is_known(self.mix) and not 0 <= self.mix <= 1:
            raise ValueError(f"--mix {self.mix} is not within 0 and 1")
        bound = partial(bounds.ciwae_bound, beta=self.mix)
        return objectives.importance_weighted(model, self.samples, bound)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Renyi(Objective):
    """The variational Renyi bound (Li & Turner 2016)."""

    name: ClassVar[str] = "renyi"
    any_prior: ClassVar[bool] = True
    samples: int = 50
    """Draws of z for each image."""
    alpha: float = 0.5
    """Order: 0 is the importance-weighted bound, 1 the ELBO."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        if is_known(self.alpha) and not math.isfinite(self.alpha):
            raise ValueError(f"--alpha {self.alpha} is not finite")
        bound = partial(bounds.renyi_bound, alpha=self.alpha)
        return objectives.importance_weighted(model, self.samples, bound)
