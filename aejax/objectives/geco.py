"""GECO: the least KL at a reconstruction error that is asked for."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from aejax.axes import per_example
from aejax.objectives.objective import Objective, Terms, batch_mean
from aejax.settings import setting
from aejax.types import Batch

_KEPT = 0.99  # of the constraint's moving average, a step; the paper's
_LIMIT = math.log(1e6)  # of |log multiplier|: a constraint that cannot be met stays finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geco(Objective):
    """KL plus a multiplier times the constraint -E log p(x|z) - tolerance <= 0.

    After algorithm 1 of Rezende & Viola 2018 (arXiv 1810.00597): the multiplier grows by a factor
    exp(rate x constraint) a step, by the constraint's moving average. It is kept in the collection
    "geco". What is not theirs: their average begins as the first batch's constraint, ours at 0 and
    divided by 1 - 0.99^steps, as Adam's, so that the first batch is not kept longer than the
    others; the logarithm of the multiplier stays within that of a million; and the value of the
    loss has the batch's constraint where theirs has the average, with the same gradient.

    The update is linear in the constraint, so that over a mapped axis, and accumulated, it is that
    of the whole batch (within the multiplier's limits).
    """

    name: ClassVar[str] = "geco"
    rank_by: ClassVar[str] = "elbo"  # the multiplier changes what the loss means
    tolerance: float = setting(110.0)
    """The reconstruction error, -log p(x|z), that is asked for: nats an image."""
    rate: float = setting(1e-4, at_least=0)
    """Of the multiplier's logarithm: per step and nat that the error is off."""

    def collections(self) -> dict[str, Any]:
        """A multiplier of 1."""
        zero = jnp.zeros((), jnp.float32)
        return {"geco": {"log_multiplier": zero, "average": zero, "steps": zero}}

    def terms(self, model: Any, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, its parts and the multiplier, which is moved where the model may change."""
        posterior = model.posterior(batch)
        log_likelihood = model.log_likelihood(batch, posterior.sample(key))
        kl = per_example(posterior.kl(model.prior(batch)))
        constraint = -log_likelihood - self.tolerance
        multiplier = jnp.exp(model.get_variable("geco", "log_multiplier"))
        if model.is_mutable_collection("geco"):
            self._move(model, jax.lax.stop_gradient(batch_mean(constraint, batch.get("mask"))))
        loss = kl + multiplier * constraint
        return Terms(loss=loss, log_likelihood=log_likelihood, kl=kl, multiplier=multiplier)

    def _move(self, model: Any, constraint: jax.Array) -> None:
        kept = {name: model.get_variable("geco", name) for name in self.collections()["geco"]}
        steps = kept["steps"] + 1
        average = _KEPT * kept["average"] + (1 - _KEPT) * constraint
        # Divided by 1 - kept^steps as in Adam: an average begun at 0 would say that all is well.
        moved = kept["log_multiplier"] + self.rate * average / -jnp.expm1(steps * math.log(_KEPT))
        changed = {
            "log_multiplier": jnp.clip(moved, -_LIMIT, _LIMIT),
            "average": average,
            "steps": steps,
        }
        for name, value in changed.items():
            model.put_variable("geco", name, value)
