"""The types that all rooms share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

Batch = dict[str, Any]
"""Named arrays `[B, ...]`: "x" is what is modelled, "label" a class, others conditions or masks.

In an evaluation "mask" `[B]` is False for the rows that only fill the last batch up, and
"num_examples", a scalar, says how many examples the data set has. Within a step "train" says
whether it is one of training, as a Python bool.
"""
Metrics = dict[str, jax.Array]
Variables = dict[str, Any]
"""A model's collections by name: "params", and whatever else it keeps."""
LossFn = Callable[[Any, Any, Batch, jax.Array, jax.Array], tuple[jax.Array, tuple[Metrics, Any]]]
"""(params, extra, batch, key, step) -> (loss, (metrics, extra)); nats per example."""
Spec = dict[str, jax.ShapeDtypeStruct]
"""What one example is as a batch has it: name -> shape without the batch's axis, and type."""


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
