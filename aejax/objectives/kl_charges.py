"""What the KL costs in a loss: functions of its parts and the step.

    charge(kl, step) -> nats

`kl` `[D]` is the KL of each latent dimension, in nats, averaged over the whole batch. Schedules are
Optax's: functions of the step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Charge = Callable[[jax.Array, jax.Array], jax.Array]


def weighted(beta: float | optax.Schedule) -> Charge:
    """Beta times the KL; with a schedule, warm-up and cycles.

    Higgins et al. 2017 (beta-VAE), equation 4; warm-up as in Sonderby et al. 2016
    (arXiv 1602.02282), cycles as in Fu et al. 2019 (arXiv 1903.10145) with `schedules.cyclical`.
    """
    schedule = beta if callable(beta) else optax.constant_schedule(beta)
    return lambda kl, step: schedule(step) * jnp.sum(kl)


def capacity(gamma: float, nats: float | optax.Schedule) -> Charge:
    """Gamma times the distance of the KL from a capacity, which is usually raised from 0.

    Burgess et al. 2018 (arXiv 1804.03599), equation 8.
    """
    schedule = nats if callable(nats) else optax.constant_schedule(nats)
    return lambda kl, step: gamma * jnp.abs(jnp.sum(kl) - schedule(step))


def free_bits(nats: float) -> Charge:
    """The KL, but no dimension below `nats`, which each so has for nothing.

    Kingma et al. 2016 (arXiv 1606.04934), equation 15, a group a dimension.
    """
    return lambda kl, step: jnp.sum(jnp.maximum(kl, nats))


def total_free_bits(nats: float) -> Charge:
    """The KL of all dimensions together, but not below `nats`."""
    return lambda kl, step: jnp.maximum(jnp.sum(kl), nats)
