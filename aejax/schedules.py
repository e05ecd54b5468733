"""Schedules over the steps that Optax lacks."""

import jax.numpy as jnp
import optax


def cyclical(peak: float, steps: int, cycles: int, rising: float = 0.5) -> optax.Schedule:
    """From 0 up to `peak` in a straight line and flat, again and again.

    Fu et al. 2019 (arXiv 1903.10145), equation 6.

    Args:
        peak: the greatest value.
        steps: of all cycles together; after them the value stays at `peak`.
        cycles: how many.
        rising: the share of a cycle that rises.

    Raises:
        ValueError: if a cycle has no step, or `rising` is not within 0 and 1.
    """
    if not 1 <= cycles <= steps:
        raise ValueError(f"{cycles} cycles do not fit into {steps} steps")
    if not 0 < rising <= 1:
        raise ValueError(f"rising {rising} is not within 0 and 1")

    def schedule(step: jnp.ndarray) -> jnp.ndarray:
        position = (step * cycles % steps) / steps
        return jnp.where(step >= steps, peak, peak * jnp.minimum(position / rising, 1))

    return schedule
