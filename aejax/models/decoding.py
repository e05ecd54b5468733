"""What every decoder of codes `[..., D]` does with its likelihood."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.likelihoods.likelihood import Likelihood
from aejax.types import Batch

Decode = Callable[[jax.Array], Any]


def log_prob(likelihood: Likelihood, decode: Decode, x: jax.Array, z: jax.Array) -> jax.Array:
    """Log p(x|z) in nats: x `[B, ...]` and z `[B, D]` -> `[B]`, or z `[K, B, D]` -> `[K, B]`.

    `decode` is given `[B, D]` or `[B K, D]`, the draws of an example one after the other.

    Raises:
        ValueError: if z is not `[B, D]` or `[K, B, D]` for the B of x.
    """
    if z.ndim not in (2, 3) or z.shape[-2] != len(x):
        raise ValueError(
            f"z {z.shape} is not [{len(x)}, D] or [K, {len(x)}, D] for x {x.shape}: samples are "
            "the first axis, examples the second"
        )
    if z.ndim == 2:
        return likelihood.log_prob(decode(z), x)
    # One product of all draws with the decoder's weights, and x never repeated. An example's draws
    # are neighbours, so that devices that share the examples need nothing from each other.
    beside = jnp.swapaxes(z, 0, 1)
    outputs = decode(beside.reshape(-1, z.shape[-1]))
    apart = jax.tree.map(
        lambda a: a if jnp.ndim(a) == 0 else a.reshape(*beside.shape[:2], *a.shape[1:]), outputs
    )
    axes = jax.tree.map(lambda a: None if jnp.ndim(a) == 0 else 1, outputs)
    return jax.vmap(likelihood.log_prob, in_axes=(axes, None))(apart, x)


class Decoding(nn.Module):
    """The half of a model that is p(x|z), of a decoder that sees nothing but z."""

    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood

    def outputs(self, z: jax.Array) -> Any:
        """Codes `[N, D]` -> what the likelihood takes."""
        return self.decoder(z)

    def log_likelihood(self, batch: Batch, z: jax.Array) -> jax.Array:
        return log_prob(self.likelihood, self.outputs, batch["x"], z)

    def decode(self, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        return self.likelihood.mean(self.outputs(z))

    def draw(self, key: jax.Array, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        return self.likelihood.sample(key, self.outputs(z))
