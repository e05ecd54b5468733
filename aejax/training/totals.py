"""Sums of metrics over batches of different weight."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aejax.types import Metrics


class Totals(NamedTuple):
    """Sums of metrics over the batches so far, and the number of examples they stand for."""

    sums: Metrics
    weight: jax.Array

    def add(self, metrics: Metrics, weight: jax.Array | float) -> "Totals":
        """With one more batch, whose mean metrics stand for `weight` examples; if for none, 0."""
        added = {name: jnp.where(weight > 0, weight * value, 0) for name, value in metrics.items()}
        sums = {name: self.sums[name] + value for name, value in added.items()}
        return Totals(sums, self.weight + weight)

    def means(self) -> dict[str, float]:
        """The metrics' means, as numbers."""
        sums, weight = jax.device_get((self.sums, self.weight))
        # No batch counts where every update of an epoch was skipped.
        return {name: float(value / weight) if weight else math.nan for name, value in sums.items()}


def zero_totals(metrics: Metrics) -> Totals:
    """Totals of no batch, for metrics of these names; their values (or shapes) are not read."""
    return Totals({name: jnp.zeros(()) for name in sorted(metrics)}, jnp.zeros(()))
