"""The reconstruction error, and what is put around an objective: a penalty, data drawn anew."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import jax

from aejax.dequantization import dequantize
from aejax.models.model import Bound
from aejax.objectives.objective import Objective, Terms, Training
from aejax.settings import with_values
from aejax.types import Batch

Corrupt = Callable[[jax.Array, jax.Array], jax.Array]
Penalty = Callable[[Any, Batch, jax.Array], jax.Array]
Self = TypeVar("Self", bound="Around")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruction(Objective):
    """-log p(x|z) at the code, nats.

    With `corrupt`, (key, x) -> what the encoder is given in its place, drawn afresh every step, it
    is that of a denoising autoencoder (Vincent et al. 2010).
    """

    variational: ClassVar[bool] = False
    corrupt: Corrupt | None = None

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss and, alike, the log-likelihood; `reconstruction_per_pixel` by x's size."""
        x = batch["x"]
        given = x if self.corrupt is None else self.corrupt(key, x)
        z = model.posterior(batch | {"x": given}).mean
        log_likelihood = model.log_likelihood(batch, z)
        per_pixel = -log_likelihood / (x.size // len(x))
        return Terms(
            loss=-log_likelihood, log_likelihood=log_likelihood, reconstruction_per_pixel=per_pixel
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Around(Objective):
    """What is put around an objective, which stays what it is in all else."""

    objective: Objective

    @property
    def variational(self) -> bool:  # type: ignore[override]
        """Whether the objective is."""
        return self.objective.variational

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        """Whether the objective's loss is no mean over the examples."""
        return self.objective.whole_batch

    def collections(self) -> dict[str, Any]:
        """Those of the objective."""
        return self.objective.collections()

    def during(self: Self, training: Training) -> Self:
        """With the objective in that training."""
        return with_values(self, objective=self.objective.during(training))

    def score(self, metrics: Mapping[str, float]) -> float:
        """That of the objective."""
        return self.objective.score(metrics)

    def over(self: Self, axis_name: str | None) -> Self:
        """With the objective over that axis."""
        return with_values(self, objective=self.objective.over(axis_name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Penalised(Around):
    """An objective plus `weight` times a penalty; the term "penalty" is not weighed.

    Attributes:
        objective: any; its terms are kept.
        penalty: (model, batch, key) -> `[B]`.
        weight: nats per unit of the penalty.
    """

    penalty: Penalty
    weight: float

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """Those of the objective and the penalty."""
        loss_key, penalty_key = jax.random.split(key)
        terms = self.objective.terms(model, batch, loss_key, step)
        penalty = self.penalty(model, batch, penalty_key)
        return terms | {"loss": terms["loss"] + self.weight * penalty, "penalty": penalty}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfDrawn(Around):
    """An objective on what `draw(key, x)` makes of x, afresh at every step."""

    draw: Corrupt

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """Those of the objective."""
        loss_key, draw_key = jax.random.split(key)
        drawn = self.draw(draw_key, batch["x"])
        return self.objective.terms(model, batch | {"x": drawn}, loss_key, step)


def dynamically_binarized(objective: Objective) -> Objective:
    """The objective on images of zeros and ones, drawn at every step with the pixels' chances.

    Dynamic binarisation, as in Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), section 5.
    Images that are binary already stay as they are.
    """

    def drawn(key: jax.Array, image: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key, image).astype(image.dtype)

    return OfDrawn(objective=objective, draw=drawn)


def dequantized(objective: Objective) -> Objective:
    """The objective on images whose pixels are drawn uniformly within their levels at every step.

    See `aejax.dequantization.dequantize`: what a density p(x|z) is trained and measured on, so that
    it can be compared with the probabilities of a discrete one.
    """
    return OfDrawn(objective=objective, draw=dequantize)
