"""Deterministic autoencoders: a code stands in the posterior's place."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax

from aejax.likelihoods.likelihood import Likelihood
from aejax.models.decoding import Decoding
from aejax.models.model import Model, flax_model
from aejax.nets.layers import GLOROT
from aejax.types import Batch


class Point(NamedTuple):
    """A distribution that is one point: a deterministic code `[B, D]`."""

    mean: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """The code itself, `[B, D]`."""
        return self.mean


class Autoencoder(Decoding):
    """x -> code `[B, latent_dim]` -> p(x|z); without a `latent_dim` the encoder gives the code."""

    latent_dim: int | None = None

    def setup(self) -> None:
        if self.latent_dim is not None:
            self.code = nn.Dense(self.latent_dim, kernel_init=GLOROT)

    def posterior(self, batch: Batch) -> Point:
        features = self.encoder(batch["x"])
        return Point(features if self.latent_dim is None else self.code(features))

    def prior(self, batch: Batch | None = None) -> Any:
        return None


class TiedAutoencoder(Autoencoder):
    """An autoencoder of one dense layer, whose decoder's kernel is the encoder's transposed.

    The decoder is a `TiedDecoder`.
    """

    def kernel(self) -> jax.Array:
        """The encoder's, `[P, D]`."""
        return self.encoder.variables["params"]["Dense_0"]["kernel"]

    def outputs(self, z: jax.Array) -> Any:
        return self.decoder(z, self.kernel())


class TiedDecoder(nn.Module):
    """Codes `[B, D]` and a kernel `[P, D]` -> outputs `[B, *shape]`, P their number."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array, kernel: jax.Array) -> jax.Array:
        bias = self.param("bias", nn.initializers.zeros, (len(kernel),))
        return (z @ kernel.T + bias[None]).reshape(len(z), *self.shape)


def autoencoder(
    encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, latent_dim: int | None = None
) -> Model:
    """The functions of an `Autoencoder`.

    Raises:
        ValueError: if `latent_dim` is not positive.
    """
    if latent_dim is not None and latent_dim < 1:
        raise ValueError(f"--latent-dim {latent_dim} is not positive")
    return flax_model(Autoencoder(encoder, decoder, likelihood, latent_dim))
