"""Encoders of one dense layer whose codes are kept small: images `[B, H, W, C]` -> `[B, D]`."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.nets.layers import GLOROT


class KSparseEncoder(nn.Module):
    """A linear layer of which each image keeps its k largest units, the others 0.

    Makhzani & Frey 2013 (arXiv 1312.5663), algorithm 1.
    """

    features: int
    k: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        units = nn.Dense(self.features, kernel_init=GLOROT)(x.reshape(len(x), -1))
        # By place, not by value: among equal units, which bfloat16 often has, just k are kept.
        largest, places = jax.lax.top_k(units, self.k)
        return jnp.put_along_axis(jnp.zeros_like(units), places, largest, axis=-1, inplace=False)


class SigmoidEncoder(nn.Module):
    """A dense layer and a sigmoid, the contractive autoencoder's encoder."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.sigmoid(nn.Dense(self.features, kernel_init=GLOROT)(x.reshape(len(x), -1)))
