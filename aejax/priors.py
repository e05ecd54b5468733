"""Priors p(z) that are learned: a mixture of Gaussians, and the VampPrior."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aejax.latents import DiagonalGaussian
from aejax.precision import floats


class DiagonalMixture(NamedTuple):
    """A mixture of C diagonal Gaussians; a pytree.

    Attributes:
        logits: `[C]`, the log of each component's weight, up to a constant.
        components: a `DiagonalGaussian` over `[C, D]`.
    """

    logits: jax.Array
    components: DiagonalGaussian

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-density in nats: `[..., D]` -> `[...]`."""
        (logits,) = floats(self.logits)
        of_each = self.components.log_prob(z[..., None, :])
        weights = jnp.expand_dims(jax.nn.log_softmax(logits), tuple(range(of_each.ndim - 1)))
        return jax.nn.logsumexp(of_each + weights.astype(of_each.dtype), axis=-1)

    def samples(self, key: jax.Array, count: int) -> jax.Array:
        """`count` independent draws, `[count, D]`."""
        component_key, noise_key = jax.random.split(key)
        drawn = jax.random.categorical(component_key, self.logits, shape=(count,))
        return jax.tree.map(lambda a: a[drawn], self.components).sample(noise_key)


def vamp_prior(
    encode: Callable[[jax.Array], DiagonalGaussian], pseudo_inputs: jax.Array
) -> DiagonalMixture:
    """The VampPrior: an equal mixture of the posteriors of learned pseudo-inputs.

    Tomczak & Welling 2018 (arXiv 1705.07120), equation 10.

    Args:
        encode: x `[C, ...]` -> q(z|x) over `[C, D]`.
        pseudo_inputs: `[C, ...]`, in the range of the data.
    """
    return DiagonalMixture(jnp.zeros(len(pseudo_inputs)), encode(pseudo_inputs))
