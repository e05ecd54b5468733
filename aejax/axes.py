"""Which axes are examples, positions and events: one rule for all formulas.

- Data and decoders' outputs are `[B, ...]`: the first axis is the examples', all others belong to
  one example. Likelihoods, penalties of codes and metrics of images sum or average over them,
  `[B]`. What has no axis beside the first is refused, so that one example alone, as `jax.vmap`
  over examples hands it on, is no batch of its pixels: give `x[None]` and take `[0]`.
- Distributions over a latent are over the last axis: their KL and log-densities sum it, at every
  rank, `[D]` -> `[]`, `[B, D]` -> `[B]`, `[B, H, W, D]` -> `[B, H, W]`, a value a position.
- Objectives, log weights and evaluations are about examples: they add up the positions between,
  by `per_example`, `[B]`.
- Draws stand in front, `[K, B, ...]`; bounds take log weights `[K, B]` -> `[B]`, and nothing else.
"""

from typing import Any

import jax
import jax.numpy as jnp


def per_example(values: jax.Array, *, leading: int = 1) -> jax.Array:
    """What belongs to one example added up: `[B, ...]` -> `[B]`.

    Args:
        values: one for each position of an example.
        leading: how many axes stand for examples and draws: 2 for `[K, B, ...]` -> `[K, B]`.
    """
    return jnp.sum(values, axis=tuple(range(leading, jnp.ndim(values))))


def require_examples(name: str, array: Any) -> None:
    """Raises a `ValueError` unless `array`, called `name`, has an axis beside the examples'."""
    shape = jnp.shape(array)
    if len(shape) < 2:
        raise ValueError(
            f"{name} {shape} is not [B, ...]: give {name}[None] for one example, as within "
            f"jax.vmap, or {name}[:, None] for examples of one number"
        )


def require_events(name: str, array: Any) -> None:
    """Raises a `ValueError` unless `array`, called `name`, has a last axis to sum over."""
    if jnp.ndim(array) < 1:
        raise ValueError(f"{name} is a scalar and not [..., D]: give {name}[None]")


def require_log_weights(log_weights: Any) -> None:
    """Raises a `ValueError` unless `log_weights` is `[K, B]` with K at least 1."""
    if jnp.ndim(log_weights) != 2 or jnp.shape(log_weights)[0] < 1:
        raise ValueError(
            f"log_weights {jnp.shape(log_weights)} is not [K, B] with K at least 1: samples are "
            "the first axis, images the second"
        )
