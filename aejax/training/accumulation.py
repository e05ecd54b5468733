"""The gradient of a batch from parts of it, one after the other: a part's memory, not a batch's."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from optax import microbatching

from aejax.types import Batch, Metrics

Gradient = Callable[..., tuple[Any, tuple[Metrics, Any]]]

_LAST = microbatching.Accumulator(
    init=lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
    update=lambda carry, value, index: value,
    finalize=lambda carry: carry,
    aggregate=lambda values: values[-1],
)


def accumulated(gradient: Gradient, parts: int) -> Gradient:
    """The mean of `gradient` over `parts` equal parts of the batch.

    Of a loss that is a mean over the images, that is the batch's own gradient; each part draws its
    own noise. Of another it is not: see `aejax.objectives.WholeBatch`.

    Args:
        gradient: (params, extra, batch, key, step) -> (gradient, (metrics, extra)).
        parts: how many; 1 leaves `gradient` as it is.

    Raises:
        ValueError: when traced, if the batch cannot be shared out evenly.
    """
    if parts == 1:
        return gradient

    def of_part(
        params: Any, extra: Any, batch: tuple[Batch, jax.Array], key: jax.Array, step: jax.Array
    ) -> tuple[Any, tuple[Metrics, Any]]:
        images, rows = batch
        return gradient(params, extra, images, jax.random.fold_in(key, rows[0]), step)

    def of_batch(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[Any, tuple[Metrics, Any]]:
        size = len(batch["x"])
        if size % parts:
            raise ValueError(f"a batch of {size} cannot be shared out evenly to {parts} parts")
        mean = microbatching.AccumulationType.MEAN
        kinds = jax.tree.map(
            lambda leaf: mean if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) else _LAST,
            extra,
        )
        over_parts = microbatching.microbatch(of_part, 2, size // parts, (mean, (mean, kinds)))
        return over_parts(params, extra, (batch, jnp.arange(size)), key, step)

    return of_batch
