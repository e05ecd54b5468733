"""Log p(x) between two bounds, on data that the model itself made."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aejax.bounds import iwae_bound
from aejax.evaluation.annealed import anneal, path_to_joint, tuned_step_sizes
from aejax.latents import DiagonalGaussian
from aejax.models.model import Model
from aejax.types import Batch, Variables


class Bracket(NamedTuple):
    """Stochastic bounds of log p(x) of each image, `[B]`, nats.

    Attributes:
        lower: below log p(x) in expectation, and above it by b nats with probability e^-b at most.
        upper: above it in expectation, and below it by b nats with probability e^-b at most.
    """

    lower: jax.Array
    upper: jax.Array

    @property
    def gap(self) -> jax.Array:
        """Upper - lower, `[B]`, nats: on average, more than either bound is off."""
        return self.upper - self.lower


def bidirectional_bounds(
    model: Model,
    variables: Variables,
    z: jax.Array,
    initial: Callable[[Batch], DiagonalGaussian],
    key: jax.Array,
    *,
    chains: int,
    betas: jax.Array,
    leapfrog_steps: int = 10,
) -> Bracket:
    """Bidirectional Monte Carlo: bounds of log p(x) at an x drawn from p(x|z) of each z.

    Grosse, Ghahramani & Adams 2015 (arXiv 1511.02543). If z is a draw of p(z) and x one
    of p(x|z), then z is an exact draw of the posterior p(z|x). Annealed importance sampling from
    there back to the start estimates 1 / p(x) without bias, as the way forward does p(x), and minus
    its log is above log p(x) where the other's is below.

    Args:
        model: its p(x, z), whose likelihood is sampled.
        variables: the model's.
        z: `[B, D]`, draws of the model's prior.
        initial: batch -> a density over `[B, D]` to start from:
            `partial(model.posterior, variables)`, or `lambda batch: standard_normal((B, D))`.
        key: a random key, used once.
        chains: of each image, in each direction.
        betas: `[T + 1]`, from 0 to 1, `sigmoidal_schedule(T)` or `linear_schedule(T)`.
        leapfrog_steps: of each transition.

    Raises:
        ValueError: if `chains` is less than 1.
    """
    sample_key, pilot_key, start_key, forward_key, reverse_key = jax.random.split(key, 5)
    batch = {"x": model.draw(variables, sample_key, z)}
    start = initial(batch)
    path = path_to_joint(model, variables, batch, start)
    step_sizes = tuned_step_sizes(pilot_key, start, path, betas, leapfrog_steps)
    first = start.samples(start_key, chains)
    forward = anneal(forward_key, first, path, betas, step_sizes, leapfrog_steps)
    # One exact draw starts all chains: their weights' mean is unbiased, independent or not.
    last = jnp.broadcast_to(z, (chains, *z.shape))
    reverse = anneal(reverse_key, last, path, betas[::-1], step_sizes[::-1], leapfrog_steps)
    return Bracket(iwae_bound(forward.log_weights), -iwae_bound(reverse.log_weights))
