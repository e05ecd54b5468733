"""Sums of metrics over batches of different weight."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.types import Metrics

APPLIED = "applied"
"""The metric by which a step says that it made its update (1), or skipped it (0)."""


class Totals(NamedTuple):
    """Sums of metrics over the batches so far, and the number of examples they stand for.

    Those of a population are `[N]` each.
    """

    sums: Metrics
    weight: jax.Array

    def add(self, metrics: Metrics, weight: jax.Array | float) -> "Totals":
        """With one more batch, whose mean metrics stand for `weight` examples.

        A batch whose update was skipped stands for none: its metrics may be anything.
        """
        weight = weight * metrics.get(APPLIED, 1.0)
        sums = {
            name: value + jnp.where(weight > 0, weight * metrics[name], 0)
            for name, value in self.sums.items()
        }
        return Totals(sums, self.weight + weight)

    def means(self) -> dict[str, Any]:
        """The metrics' means, as numbers or lists of them; NaN where no batch counts."""
        sums, weight = jax.device_get((self.sums, self.weight))
        with np.errstate(invalid="ignore"):
            return {name: np.divide(value, weight).tolist() for name, value in sums.items()}


def zero_totals(metrics: Metrics) -> Totals:
    """Totals of no batch, for metrics of these names; their values (or shapes) are not read."""
    names = sorted(metrics.keys() - {APPLIED})
    return Totals({name: jnp.zeros(()) for name in names}, jnp.zeros(()))
