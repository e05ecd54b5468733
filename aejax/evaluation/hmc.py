"""Hamiltonian Monte Carlo, many chains at once: samples first, images second, `[K, B, D]`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aejax.evaluation.varying import varying_as

LogDensity = Callable[[jax.Array], jax.Array]
"""z `[K, B, D]` -> its log-density up to a constant, `[K, B]`, nats; each by its own z alone."""


class Moved(NamedTuple):
    """Where a transition leaves the chains.

    Attributes:
        z: `[K, B, D]`.
        acceptance: `[K, B]`, the probability with which each proposal was accepted.
    """

    z: jax.Array
    acceptance: jax.Array


class Phase(NamedTuple):
    """A point of a trajectory, and the log-density and its gradient there.

    Attributes:
        z: `[K, B, D]`.
        momentum: `[K, B, D]`, of unit mass.
        log_density: `[K, B]`.
        gradient: `[K, B, D]`.
    """

    z: jax.Array
    momentum: jax.Array
    log_density: jax.Array
    gradient: jax.Array

    def log_joint(self) -> jax.Array:
        """Minus the Hamiltonian, up to a constant: `[K, B]`."""
        return self.log_density - 0.5 * jnp.sum(self.momentum**2, axis=-1)


def phase(log_density: LogDensity, z: jax.Array, momentum: jax.Array) -> Phase:
    """The phase at z with this momentum, both `[K, B, D]`."""
    value, pullback = jax.vjp(log_density, z)
    # Each value depends on its own z only, so the gradient of their sum holds all gradients.
    return Phase(z, momentum, value, pullback(jnp.ones_like(value))[0])


def leapfrog(log_density: LogDensity, start: Phase, step_size: jax.Array, steps: int) -> Phase:
    """The phase after `steps` leapfrog steps; negate the momentum, and it leads back.

    Neal 2011, "MCMC using Hamiltonian dynamics" (arXiv 1206.1901): half a step of the momentum, one
    of z, half a step of the momentum. The gradient at the end of a step serves the next.

    Args:
        log_density: of z `[K, B, D]`, `[K, B]`.
        start: where from.
        step_size: of each chain, `[K, B]` or `[1, B]`.
        steps: how many.
    """
    epsilon = step_size[..., None]

    def step(_: jax.Array, at: Phase) -> Phase:
        momentum = at.momentum + 0.5 * epsilon * at.gradient
        moved = phase(log_density, at.z + epsilon * momentum, momentum)
        return moved._replace(momentum=momentum + 0.5 * epsilon * moved.gradient)

    return jax.lax.fori_loop(0, steps, step, start)


def hmc(
    key: jax.Array, log_density: LogDensity, z: jax.Array, step_size: jax.Array, steps: int
) -> Moved:
    """One transition that leaves the density of `log_density` invariant, whatever the step size.

    Neal 2011 (arXiv 1206.1901): a momentum of N(0, I), a leapfrog trajectory, and the Metropolis
    correction. A trajectory that diverges is rejected.

    Args:
        key: a random key, used once.
        log_density: of z `[K, B, D]`, `[K, B]`, up to a constant, nats.
        z: `[K, B, D]`, one chain each.
        step_size: of each chain, `[K, B]` or `[1, B]`.
        steps: leapfrog steps of the trajectory.
    """
    momentum_key, accept_key = jax.random.split(key)
    momentum = varying_as(z, jax.random.normal(momentum_key, z.shape, z.dtype))
    start = phase(log_density, z, momentum)
    end = leapfrog(log_density, start, step_size, steps)
    log_ratio = end.log_joint() - start.log_joint()
    # A divergence ends in infinities, whose difference is NaN.
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    # min(1, r) = exp(min(0, log r)) never overflows.
    acceptance = jnp.exp(jnp.minimum(log_ratio, 0))
    accepted = jax.random.uniform(accept_key, acceptance.shape, acceptance.dtype) < acceptance
    return Moved(jnp.where(accepted[..., None], end.z, z), acceptance)
