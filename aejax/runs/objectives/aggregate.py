"""Objectives on the aggregate posterior."""

import dataclasses
from typing import ClassVar

from aejax import objectives
from aejax.generative import LatentVariableModel
from aejax.runs.objectives.objective import Objective, Training, not_negative
from aejax.traced import is_known
from aejax.types import LossFn


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfoVae(Objective):
    """KL and MMD together (Zhao et al. 2019); the MMD-VAE at alpha 1."""

    name: ClassVar[str] = "info_vae"
    alpha: float = 1.0
    """How much of the mutual information of x and z costs nothing."""
    weight: float = 1000.0
    """Lambda, nats per unit of squared MMD."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        has_pairs(training)
        not_negative("--weight", self.weight)
        known = is_known(self.alpha) and is_known(self.weight)
        if known and not 1 - self.weight <= self.alpha <= 1:
            raise ValueError(
                f"--alpha {self.alpha} is not within 1 - weight and 1: KL or MMD would gain"
            )
        return objectives.info_vae(model, alpha=self.alpha, weight=self.weight)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaeMmd(Objective):
    """The Wasserstein autoencoder: codes without noise, MMD to the prior (Tolstikhin et al.)."""

    name: ClassVar[str] = "wae_mmd"
    has_kl: ClassVar[bool] = False
    weight: float = 1000.0
    """Nats per unit of squared MMD."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        has_pairs(training)
        not_negative("--weight", self.weight)
        return objectives.wae_mmd(model, weight=self.weight)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BetaTcVae(Objective):
    """The total correlation weighed by beta (Chen et al. 2018)."""

    name: ClassVar[str] = "beta_tcvae"
    beta: float = 6.0
    """Weight of the total correlation."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        not_negative("--beta", self.beta)
        return objectives.beta_tcvae(model, beta=self.beta, images=training.images)


def has_pairs(training: Training) -> None:
    """Raises a `ValueError` for batches of one image, of which an MMD is not defined."""
    if training.batch_size < 2:
        raise ValueError(
            f"a batch of {training.batch_size} has no pairs of codes: give a larger --batch-size"
        )
