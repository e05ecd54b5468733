"""What an objective is, and the one place that makes a loss of it: it masks, averages and names."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp

from aejax.models.model import Bound, Model
from aejax.objectives.explicit import on_automatic_axes
from aejax.precision import floats
from aejax.settings import check_settings, with_values
from aejax.types import Batch, LossFn, Metrics, WholeBatch

Terms = dict[str, jax.Array]
"""What an objective says of each example, `[B]` by name, nats; scalars are of the whole batch.

"loss" is what is minimised. Of "log_likelihood", log p(x|z), and "kl" the metrics are
`reconstruction` = -E log p(x|z), `kl`, and `elbo`, which weighs the KL by 1 whatever the loss does.
"""
Self = TypeVar("Self", bound="Objective")
Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Training:
    """What an objective may depend on: steps of the whole run, training examples, rows a step."""

    steps: int
    examples: int
    batch_size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised; its fields are its hyperparameters, which are its flags too.

    Raises:
        ValueError: when it is made, for a hyperparameter that is out of its range.
    """

    name: ClassVar[str] = ""
    """By which `--objective` chooses it."""
    any_prior: ClassVar[bool] = False
    """Whether the KL is sampled, so that it need not be closed."""
    variational: ClassVar[bool] = True
    """Whether it trains a q(z|x) by which log p(x) can be estimated."""
    by_length: ClassVar[bool] = False
    """Whether a schedule of it is drawn over the whole training."""
    rank_by: ClassVar[str] = "loss"
    """What ranks models: "loss", or "elbo" where the loss changes its meaning as it goes on."""
    whole_batch: ClassVar[bool] = False
    """Whether the loss is no mean over the examples; see `aejax.types.WholeBatch`."""
    training: ClassVar[Training | None] = None
    axis_name: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        check_settings(self)
        self.check()

    def check(self) -> None:
        """Raises a `ValueError` for hyperparameters that do not go together."""

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """What it says of each example of a batch; nothing is averaged."""
        raise NotImplementedError

    def collections(self) -> dict[str, Any]:
        """What it keeps itself, by name, as it is before the first step."""
        return {}

    def during(self: Self, training: Training) -> Self:
        """The objective in a training of which it then knows the length.

        Raises:
            ValueError: if it cannot be trained so.
        """
        return with_values(self, training=training)

    def over(self: Self, axis_name: str | None) -> Self:
        """The objective of a batch that is split over a mapped axis."""
        return with_values(self, axis_name=axis_name)

    def score(self, metrics: Mapping[str, float]) -> float:
        """What models are ranked by, the lower the better."""
        return -metrics["elbo"] if self.rank_by == "elbo" else metrics["loss"]

    def steps(self) -> int:
        """Those of the whole training; a `ValueError` where they are not known."""
        if self.training is None:
            raise ValueError(f"{self.name} depends on the training's length: give .during(...)")
        return self.training.steps


def make_loss(model: Model, objective: Objective) -> LossFn:
    """The `LossFn` of an objective, a `WholeBatch` where its loss is no mean over the examples."""
    if not objective.whole_batch:
        return _loss(model, objective)
    return WholeBatch(lambda axis_name: _loss(model, objective.over(axis_name)))


def _loss(model: Model, objective: Objective) -> LossFn:
    def whole_loss(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        variables = {"params": params, **extra}
        terms, changed = model.apply(
            objective.terms, variables, batch, key, step, mutable=tuple(extra)
        )
        check_terms(terms, len(batch["x"]))
        mask = batch.get("mask")
        metrics = named({name: batch_mean(values, mask) for name, values in terms.items()})
        return metrics["loss"], (metrics, {**extra, **changed})

    return partial(on_automatic_axes, whole_loss)


def check_terms(terms: Terms, examples: int) -> None:
    """Raises a `ValueError` for a term that is neither `[B]` nor a scalar."""
    for name, values in terms.items():
        if jnp.shape(values) not in ((), (examples,)):
            raise ValueError(
                f"the term {name} is {jnp.shape(values)} of {examples} examples: add up what "
                "belongs to one, with aejax.axes.per_example"
            )


def named(means: Metrics) -> Metrics:
    """The means of terms as metrics: the log-likelihood as `reconstruction`, with the ELBO."""
    metrics = dict(means)
    if "log_likelihood" in metrics:
        metrics["reconstruction"] = -metrics.pop("log_likelihood")
        if "kl" in metrics:
            metrics["elbo"] = -(metrics["reconstruction"] + metrics["kl"])
    return metrics


def batch_mean(values: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The mean of `values` `[B, ...]` over the rows where `mask` `[B]` is True: `[...]`.

    Without a mask it is that of all; a scalar, which is of the batch already, stays.
    """
    (values,) = floats(values)
    if jnp.ndim(values) == 0:
        return values
    if mask is None:
        return jnp.mean(values, axis=0)
    weights = mask.astype(values.dtype)
    rows = mask.reshape(-1, *(1,) * (values.ndim - 1))
    # where, not a product: a row that only fills the batch may hold a NaN.
    return jnp.sum(jnp.where(rows, values, 0), axis=0) / jnp.maximum(jnp.sum(weights), 1)


def mean_over(axis_name: str | None, tree: Tree) -> Tree:
    """The mean over a mapped axis, or the tree as it is."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def gathered(axis_name: str | None, tree: Tree) -> Tree:
    """Rows `[B, ...]` of all parts of a mapped axis, one after the other, or the tree as it is."""
    return tree if axis_name is None else jax.lax.all_gather(tree, axis_name, tiled=True)
