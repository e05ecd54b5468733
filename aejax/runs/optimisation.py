"""Optax's pieces that the flags of optimisation put around an experiment's optimiser."""

from typing import Any

import jax
import optax

from aejax.runs.groups import OptimisationFlags
from aejax.settings import flag
from aejax.training.skipping import skip_outliers

_AROUND = ("schedule", "clip_norm", "weight_decay", "ema", "skip_above", "accumulate")


def wrapped_optimizer(
    optimizer: optax.GradientTransformation, flags: OptimisationFlags, steps: int
) -> optax.GradientTransformation:
    """The optimiser as the flags ask of a training of `steps`.

    From the inside out: clip the gradient's norm, the experiment's own optimiser, weight decay, the
    schedule, and the skipping of outliers around it all.
    """
    pieces = [optimizer]
    if flags.clip_norm is not None:
        pieces.insert(0, optax.clip_by_global_norm(flags.clip_norm))
    if isinstance(flags.weight_decay, jax.Array) or flags.weight_decay > 0:
        # What comes out of the optimiser has the learning rate in it already, and its sign.
        rate = -flags.learning_rate * flags.weight_decay
        pieces.append(optax.add_decayed_weights(rate, mask=_kernels))
    if flags.schedule != "constant":
        # The updates of Adam and its kin are proportional to the learning rate.
        factor = optax.warmup_cosine_decay_schedule(0.0, 1.0, max(steps // 50, 1), max(steps, 2))
        pieces.append(optax.scale_by_schedule(factor))
    whole = optax.chain(*pieces) if len(pieces) > 1 else optimizer
    if flags.skip_above is None:
        return whole
    return skip_outliers(whole, factor=flags.skip_above, patience=flags.skip_at_most)


def refuse_optimisation(flags: OptimisationFlags) -> None:
    """Raises a `ValueError` for a flag that a model of several losses has no use for."""
    given = [
        f"{flag(field)} {getattr(flags, field)}"
        for field in _AROUND
        if getattr(flags, field) != getattr(OptimisationFlags, field)
    ]
    if given:
        raise ValueError(
            f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} not for models of several "
            "losses: leave it out"
        )


def _kernels(params: Any) -> Any:
    """Which parameters decay: those that Flax calls "kernel", whatever else has two axes."""
    return jax.tree.map_with_path(
        lambda path, _: path[-1] == jax.tree_util.DictKey("kernel"), params
    )
