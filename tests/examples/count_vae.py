"""A VAE of count vectors with a Poisson likelihood."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from aejax import models, nets
from aejax.cli.commands import main
from aejax.likelihoods import Likelihood
from aejax.models import Model
from aejax.runs.families import VaeConfig
from aejax.types import Spec


def poisson_log_prob(log_rate: jax.Array, x: jax.Array) -> jax.Array:
    """Log Poisson(x; exp(log_rate)) in nats: `[B, D]`, counts `[B, D]` -> `[B]`."""
    return jnp.sum(x * log_rate - jnp.exp(log_rate) - gammaln(x + 1.0), axis=-1)


def poisson() -> Likelihood:
    """Counts; the decoder's outputs are the logs of their rates."""
    return Likelihood(
        poisson_log_prob,
        mean=jnp.exp,
        sample=lambda key, log_rate: jax.random.poisson(key, jnp.exp(log_rate)),
    )


class CountEncoder(nn.Module):
    """Counts `[B, D]` -> features, of log(1 + x)."""

    net: nn.Module

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.net(jnp.log1p(x.astype(jnp.float32)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VaeConfig):
    """A VAE of counts."""

    name: ClassVar[str] = "count_vae"
    hidden: tuple[int, ...] = (32,)
    """Widths of the dense layers, from the counts inwards."""

    def model(self, spec: Spec) -> Model:
        """Dense nets with a Poisson likelihood."""
        encoder, decoder = nets.mlp_pair(spec["x"].shape, self.hidden)
        return models.vae(CountEncoder(encoder), decoder, self.latent_dim, poisson())


if __name__ == "__main__":
    main(Config)
