"""The flags that change how an update is made: Optax's pieces around a recipe's optimiser."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import jax
import optax

from aejax.errors import UsageError
from aejax.objectives import WholeBatch
from aejax.runs.idle_flags import flag
from aejax.runs.recipe import Recipe
from aejax.traced import is_known
from aejax.training.skipping import skip_outliers

if TYPE_CHECKING:
    from aejax.runs.config import Config

_DEFAULTS = {
    "schedule": "constant",
    "clip_norm": None,
    "weight_decay": 0.0,
    "ema": None,
    "skip_above": None,
    "accumulate": 1,
}


def optimised(recipe: Recipe, config: "Config", steps: int) -> Recipe:
    """The recipe with its optimiser, and its step, as the flags ask of a training of `steps`.

    From the inside out: clip the gradient's norm, the recipe's own optimiser, weight decay, the
    schedule, and the skipping of outliers around it all.

    Raises:
        ValueError: if a flag is given where the recipe has a step of its own, or its loss is no
            mean over the images and would be accumulated.
    """
    if recipe.train_step is not None:
        _refuse(config)
        return recipe
    if config.accumulate > 1 and isinstance(recipe.loss_fn, WholeBatch):
        raise ValueError(
            f"--accumulate {config.accumulate} would train another objective, the loss of this one "
            "being no mean over the images: leave it out, or give a smaller --batch-size"
        )
    pieces = [recipe.optimizer]
    if config.clip_norm is not None:
        pieces.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if not is_known(config.weight_decay) or config.weight_decay > 0:
        # What comes out of the optimiser has the learning rate in it already, and its sign.
        rate = -config.learning_rate * config.weight_decay
        pieces.append(optax.add_decayed_weights(rate, mask=_kernels))
    if config.schedule != "constant":
        # The updates of Adam and its kin are proportional to the learning rate.
        factor = optax.warmup_cosine_decay_schedule(0.0, 1.0, max(steps // 50, 1), max(steps, 2))
        pieces.append(optax.scale_by_schedule(factor))
    optimizer = optax.chain(*pieces) if len(pieces) > 1 else recipe.optimizer
    if config.skip_above is not None:
        optimizer = skip_outliers(optimizer, factor=config.skip_above, patience=config.skip_at_most)
    recipe = dataclasses.replace(recipe, optimizer=optimizer, accumulate=config.accumulate)
    return recipe if config.ema is None else dataclasses.replace(recipe, ema_decay=config.ema)


def check_optimisation(config: "Config") -> None:
    """Raises a `UsageError` for the first of these flags whose value makes no sense."""
    for field in ("clip_norm", "skip_above"):
        value = getattr(config, field)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{flag(field)} {value} is not a positive number")
    for field in ("skip_at_most", "accumulate"):
        if getattr(config, field) < 1:
            raise UsageError(f"{flag(field)} {getattr(config, field)} is not positive")
    if not (math.isfinite(config.weight_decay) and config.weight_decay >= 0):
        raise UsageError(f"--weight-decay {config.weight_decay} is not a number from 0 on")
    if config.ema is not None and not 0 <= config.ema < 1:
        raise UsageError(f"--ema {config.ema} is not from 0 to below 1")
    if config.batch_size % config.accumulate:
        raise UsageError(
            f"--accumulate {config.accumulate} does not divide --batch-size {config.batch_size}"
        )


def _kernels(params: Any) -> Any:
    """Which parameters decay: those that Flax calls "kernel", whatever else has two axes."""
    return jax.tree.map_with_path(
        lambda path, _: path[-1] == jax.tree_util.DictKey("kernel"), params
    )


def _refuse(config: "Config") -> None:
    given = [
        f"{flag(field)} {getattr(config, field)}"
        for field, default in _DEFAULTS.items()
        if getattr(config, field) != default
    ]
    if given:
        raise ValueError(
            f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} not for models of several "
            "losses: leave it out"
        )
