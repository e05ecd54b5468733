"""An encoder and a decoder of one's own: residual dense blocks about a latent."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax

from aejax import likelihoods, models
from aejax.cli.commands import main
from aejax.models import Model
from aejax.runs.families import VaeConfig
from aejax.types import Spec


class ResidualEncoder(nn.Module):
    """x `[B, ...]` -> features `[B, width]`."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.Dense(self.width)(x.reshape(len(x), -1))
        return h + nn.Dense(self.width)(nn.gelu(h))


class ResidualDecoder(nn.Module):
    """z `[B, D]` -> logits `[B, *shape]`."""

    width: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        h = nn.Dense(self.width)(z)
        h = h + nn.Dense(self.width)(nn.gelu(h))
        size = self.shape[0] * self.shape[1] * self.shape[2]
        return nn.Dense(size)(h).reshape(len(z), *self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VaeConfig):
    """A VAE of residual dense blocks."""

    name: ClassVar[str] = "residual_vae"
    width: int = 64
    """Units of a layer."""

    def model(self, spec: Spec) -> Model:
        """The pair, about a Gaussian latent, with Bernoulli pixels."""
        encoder = ResidualEncoder(self.width)
        decoder = ResidualDecoder(self.width, spec["x"].shape)
        return models.vae(encoder, decoder, self.latent_dim, likelihoods.bernoulli())


if __name__ == "__main__":
    main(Config)
