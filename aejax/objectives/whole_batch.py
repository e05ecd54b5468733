"""Losses of a whole batch: what the losses of its parts, averaged, are not."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from aejax.types import Batch, LossFn, Metrics

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class WholeBatch:
    """A `LossFn` that is no mean over the examples: it bends the batch's mean, or looks at pairs.

    `make_train_step` asks it for the loss over a mapped axis, and refuses to accumulate it.

    Attributes:
        over: the name of a mapped axis -> the `LossFn` of the batch that is split over it, which
            first puts together what it needs of all parts; None -> that of a batch that is not.
    """

    over: Callable[[str | None], LossFn]

    def __call__(
        self, params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        return self.over(None)(params, extra, batch, key, step)


def around(loss_fn: LossFn, wrap: Callable[[LossFn], LossFn]) -> LossFn:
    """`wrap(loss_fn)`, a `WholeBatch` where `loss_fn` is one."""
    if not isinstance(loss_fn, WholeBatch):
        return wrap(loss_fn)
    over = loss_fn.over
    return WholeBatch(lambda axis_name: wrap(over(axis_name)))


def mean_over(axis_name: str | None, tree: Tree) -> Tree:
    """The mean over a mapped axis, or the tree as it is."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def gathered(axis_name: str | None, tree: Tree) -> Tree:
    """Rows `[B, ...]` of all parts of a mapped axis, one after the other, or the tree as it is."""
    return tree if axis_name is None else jax.lax.all_gather(tree, axis_name, tiled=True)
