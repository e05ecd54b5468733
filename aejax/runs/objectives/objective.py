"""What an objective of `vae.py --objective` is, and the checks of its flags."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from aejax.generative import LatentVariableModel
from aejax.traced import is_known
from aejax.types import LossFn


@dataclasses.dataclass(frozen=True)
class Training:
    """What an objective may depend on: steps of the whole run, training images, images a step."""

    steps: int
    images: int
    batch_size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised; subclasses add their flags."""

    name: ClassVar[str]
    any_prior: ClassVar[bool] = False
    """Whether the KL is sampled, so that the prior need not be N(0, I)."""
    has_kl: ClassVar[bool] = True
    """Whether it measures a KL and so an ELBO."""
    by_length: ClassVar[bool] = False
    """Whether a schedule of it is drawn over the whole training."""

    def loss(self, model: LatentVariableModel, training: Training) -> LossFn:
        """The `LossFn` for a model.

        Raises:
            ValueError: if a flag's value makes no sense.
        """
        raise NotImplementedError

    def score(self, metrics: Mapping[str, float]) -> float:
        """What models are ranked by, the lower the better.

        It is the loss, or -ELBO where the loss changes its meaning as the training goes on.
        """
        return -metrics["elbo"] if self.by_length else metrics["loss"]

    def extra(self) -> Any:
        """The state's `extra` before the first step."""
        return None


def not_negative(flag: str, value: float) -> None:
    """Raises a `ValueError` unless the value is finite and at least 0.

    A traced value stands for those of many members, each of which was checked before.
    """
    if is_known(value) and not 0 <= value < math.inf:
        raise ValueError(f"{flag} {value} is not a number of at least 0")


def share(flag: str, value: float) -> None:
    """Raises a `ValueError` unless the value is above 0 and at most 1."""
    if not 0 < value <= 1:
        raise ValueError(f"{flag} {value} is not above 0 and at most 1")


def divides(groups: int, samples: int) -> None:
    """Raises a `ValueError` unless the groups are of equal size."""
    if samples < 1 or groups < 1 or samples % groups:
        raise ValueError(f"--groups {groups} does not divide --samples {samples}")
