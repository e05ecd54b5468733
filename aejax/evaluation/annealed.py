"""Log p(x) by annealed importance sampling: chains from an easy density to p(z) p(x|z)."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aejax.evaluation.hmc import LogDensity, Moved, hmc
from aejax.latents import DiagonalGaussian
from aejax.models.model import Model
from aejax.precision import floats
from aejax.types import Batch, Variables

_TARGET = 0.65  # acceptance: the optimum of many dimensions (Neal 2011), and Wu et al.'s
_PILOT_CHAINS = 4  # of each image; their mean acceptance moves its step size
_WARM_UP = 50  # transitions of the pilot before it leaves the first temperature
_FIRST_STEP_SIZE = 0.1
_GAIN = 0.2  # of log step size, a unit of acceptance; e-fold in ten transitions at the most


class Annealed(NamedTuple):
    """Where the chains end, and what they weigh.

    Attributes:
        log_weights: `[K, B]`, nats; `iwae_bound` of them is the log of the ratio of the two
            densities' integrals: log p(x), a lower bound in expectation.
        z: `[K, B, D]`, draws of the last density once weighed.
        acceptance: `[T, B]`, the mean over chains at each temperature.
    """

    log_weights: jax.Array
    z: jax.Array
    acceptance: jax.Array


def linear_schedule(steps: int) -> jax.Array:
    """Inverse temperatures 0, 1/T, ..., 1: `[T + 1]`.

    Raises:
        ValueError: if `steps` is less than 1.
    """
    _check_steps(steps)
    return jnp.linspace(0, 1, steps + 1)


def sigmoidal_schedule(steps: int, steepness: float = 4.0) -> jax.Array:
    """Inverse temperatures that move slowly at both ends, from 0 to 1: `[T + 1]`.

    That of Grosse, Ghahramani & Adams 2015 (arXiv 1511.02543) and Wu et al. 2017:
    sigmoid(steepness (2 t / T - 1)), shifted and scaled to end at 0 and 1.

    Raises:
        ValueError: if `steps` is less than 1.
    """
    _check_steps(steps)
    raw = jax.nn.sigmoid(steepness * jnp.linspace(-1, 1, steps + 1))
    # Divided, not multiplied by a rounded reciprocal: the ends are 0 and 1 to the bit.
    return (raw - raw[0]) / (raw[-1] - raw[0])


def annealed_importance(
    model: Model,
    variables: Variables,
    batch: Batch,
    initial: DiagonalGaussian,
    key: jax.Array,
    *,
    chains: int,
    betas: jax.Array,
    leapfrog_steps: int = 10,
) -> Annealed:
    """Annealed importance sampling of log p(x), from `initial` to p(z) p(x|z).

    Neal 2001 (arXiv physics/9803008); Wu et al. 2017 (arXiv 1611.04273) for decoders.
    A first run of a few chains finds step sizes, and the chains that count hold them, see
    `tuned_step_sizes`. All of it is one program under `jax.jit`; it holds the decoder's values and
    gradients for all K B chains at once.

    Args:
        model: its p(x, z).
        variables: the model's.
        batch: of B examples, as the model takes it.
        initial: a density over `[B, D]` to start from: the prior, `standard_normal((B, D))`, or
            q(z|x), `model.posterior(variables, batch)`.
        key: a random key, used once.
        chains: K, of each image.
        betas: `[T + 1]`, from 0 to 1, `sigmoidal_schedule(T)` or `linear_schedule(T)`.
        leapfrog_steps: of each transition.

    Raises:
        ValueError: if `chains` is less than 1.
    """
    pilot_key, start_key, key = jax.random.split(key, 3)
    betas = jnp.asarray(betas)
    path = path_to_joint(model, variables, batch, initial)
    step_sizes = tuned_step_sizes(pilot_key, initial, path, betas, leapfrog_steps)
    z = initial.samples(start_key, chains)
    return anneal(key, z, path, betas, step_sizes, leapfrog_steps)


class GeometricPath(NamedTuple):
    """Densities between two: log f_beta = (1 - beta) log f_0 + beta log f_1.

    Attributes:
        log_initial: log f_0 of z `[K, B, D]`, `[K, B]`, nats.
        log_final: log f_1 of z.
    """

    log_initial: LogDensity
    log_final: LogDensity

    def log_density(self, beta: jax.Array) -> LogDensity:
        """Log f_beta."""
        return lambda z: (
            (1 - beta) * self.log_initial(z).astype(z.dtype)
            + beta * self.log_final(z).astype(z.dtype)
        )

    def log_ratio(self, z: jax.Array) -> jax.Array:
        """Log f_1 - log f_0 of z `[K, B, D]`, the derivative of log f_beta by beta: `[K, B]`."""
        return (self.log_final(z) - self.log_initial(z)).astype(z.dtype)


def path_to_joint(
    model: Model, variables: Variables, batch: Batch, initial: DiagonalGaussian
) -> GeometricPath:
    """The path from `initial` over `[B, D]` to p(z) p(x|z), whose integral is p(x)."""
    prior = model.prior(variables, batch)  # once: a VampPrior encodes its images for it

    def log_joint(z: jax.Array) -> jax.Array:
        return model.log_likelihood(variables, batch, z) + prior.log_prob(z)

    return GeometricPath(initial.log_prob, log_joint)


def anneal(
    key: jax.Array,
    z: jax.Array,
    path: GeometricPath,
    betas: jax.Array,
    step_sizes: jax.Array,
    leapfrog_steps: int,
) -> Annealed:
    """Chains along a path, by HMC: a weight's factor, then a transition, at each temperature.

    Neal 2001. Since a transition of HMC is its own reversal, `betas` and
    `step_sizes` in reverse, from draws of f_1, give the chains of the reverse experiment.

    Args:
        key: a random key, used once.
        z: `[K, B, D]`, draws of the path's density at `betas[0]`.
        path: the densities between.
        betas: `[T + 1]`, from 0 to 1, or from 1 to 0.
        step_sizes: `[T + 1, B]`, at each of `betas`; the first is not used.
        leapfrog_steps: of each transition.
    """

    def visit(carry: tuple[jax.Array, jax.Array], at: Any) -> tuple[Any, jax.Array]:
        z, log_weights = carry
        key, beta, increase, step_size = at
        log_weights = log_weights + increase * path.log_ratio(z)
        moved = hmc(key, path.log_density(beta), z, step_size[None], leapfrog_steps)
        return (moved.z, log_weights), jnp.mean(moved.acceptance, axis=0)

    # Of one type throughout, which a loop has to keep: of a model in bfloat16 chains in float32.
    (z,) = floats(z)
    if z.ndim != 3:
        raise ValueError(f"z {z.shape} is not [K, B, D]: flatten each example's latent")
    betas, step_sizes = betas.astype(z.dtype), step_sizes.astype(z.dtype)
    keys = jax.random.split(key, len(betas) - 1)
    temperatures = (keys, betas[1:], jnp.diff(betas), step_sizes[1:])
    start = (z, jnp.zeros_like(z[..., 0]))
    (z, log_weights), acceptance = jax.lax.scan(visit, start, temperatures)
    return Annealed(log_weights, z, acceptance)


def tuned_step_sizes(
    key: jax.Array,
    initial: DiagonalGaussian,
    path: GeometricPath,
    betas: jax.Array,
    leapfrog_steps: int,
) -> jax.Array:
    """Step sizes that accept about 0.65 at each temperature, for each image: `[T + 1, B]`.

    As in Wu et al. 2017, a step size grows or shrinks with every transition by whether more or less
    than the target is accepted. Theirs do so in the chains that are weighed, whose transitions then
    depend on where the chain has been, and no longer leave the densities invariant: the weights
    lose their exact mean. These are of a run of its own, four chains an image, so that the bounds
    of chains that hold them are bounds.

    Args:
        key: a random key, used once.
        initial: the density at `betas[0]`, over `[B, D]`.
        path: the densities between.
        betas: `[T + 1]`, from 0 to 1.
        leapfrog_steps: of each transition.
    """

    def visit(carry: tuple[jax.Array, jax.Array], at: Any) -> tuple[Any, jax.Array]:
        z, log_step = carry
        key, beta = at
        log_density = path.log_density(beta)
        moved: Moved = hmc(key, log_density, z, jnp.exp(log_step)[None], leapfrog_steps)
        log_step += _GAIN * (jnp.mean(moved.acceptance, axis=0) - _TARGET)
        return (moved.z, log_step), jnp.exp(log_step)

    start_key, key = jax.random.split(key)
    (z,) = floats(initial.samples(start_key, _PILOT_CHAINS))
    visited = jnp.concatenate([jnp.full(_WARM_UP, betas[0]), betas]).astype(z.dtype)
    start = (z, jnp.full_like(z[0, :, 0], math.log(_FIRST_STEP_SIZE)))
    _, step_sizes = jax.lax.scan(visit, start, (jax.random.split(key, len(visited)), visited))
    return step_sizes[_WARM_UP:]


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{steps} steps lead nowhere: give at least 1")
