"""The variational autoencoder."""

from typing import Any

import flax.linen as nn
import jax

from aejax.latents import DiagonalGaussian, standard_normal
from aejax.likelihoods.likelihood import Likelihood
from aejax.models.decoding import Decoding
from aejax.models.model import Model, flax_model
from aejax.nets.layers import GLOROT
from aejax.types import Batch


class VAE(Decoding):
    """The variational autoencoder of Kingma & Welling 2014 (arXiv 1312.6114).

    A diagonal Gaussian posterior over a `latent_dim`-dimensional latent. Its prior is N(0, I), or
    what a module of `aejax.nets.priors` makes of the encoder. Shapes are those of `models.Bound`.
    """

    latent_dim: int
    prior_net: nn.Module | None = None

    def setup(self) -> None:
        self.mean = nn.Dense(self.latent_dim, kernel_init=GLOROT)
        self.log_sigma = nn.Dense(self.latent_dim, kernel_init=GLOROT)

    def encode(self, x: jax.Array) -> DiagonalGaussian:
        """Maps x `[B, ...]` to q(z|x) over `[B, latent_dim]`."""
        features = self.encoder(x)
        return DiagonalGaussian(self.mean(features), self.log_sigma(features))

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        return self.encode(batch["x"])

    def prior(self, batch: Batch | None = None) -> Any:
        if self.prior_net is None:
            return standard_normal((self.latent_dim,))
        return self.prior_net(self.encode)


def vae(
    encoder: nn.Module,
    decoder: nn.Module,
    latent_dim: int,
    likelihood: Likelihood,
    prior: nn.Module | None = None,
) -> Model:
    """The functions of a `VAE`.

    Args:
        encoder: x `[B, ...]` -> features `[B, F]`.
        decoder: z `[B, latent_dim]` -> what the likelihood takes.
        latent_dim: dimensions of the latent.
        likelihood: p(x|z).
        prior: a module of `aejax.nets.priors`, or None for N(0, I).

    Raises:
        ValueError: if `latent_dim` is not positive.
    """
    if latent_dim < 1:
        raise ValueError(f"--latent-dim {latent_dim} is not positive")
    return flax_model(VAE(encoder, decoder, likelihood, latent_dim, prior))
