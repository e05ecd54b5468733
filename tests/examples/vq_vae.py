"""A VQ-VAE whose codebook learns by moving averages (van den Oord et al. 2017, arXiv 1711.00937).

The codebook is a Flax collection: it travels beside the parameters to the checkpoint and back.
"""

import dataclasses
import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax import likelihoods
from aejax.cli.commands import main
from aejax.models import Model, Point, flax_model
from aejax.objectives import Objective, Terms
from aejax.runs.families import AutoencoderConfig
from aejax.settings import setting
from aejax.types import Batch, Spec


class EmaCodebook(nn.Module):
    """K vectors, each the average of what is nearest to it (their appendix A.1)."""

    size: int
    width: int
    kept: float = 0.99

    def setup(self) -> None:
        shape = (self.size, self.width)
        noise = jax.random.normal(jax.random.key(0), shape)
        self.sums = self.variable("codebook", "sums", lambda: noise)
        self.counts = self.variable("codebook", "counts", lambda: jnp.ones(self.size))

    def vectors(self) -> jax.Array:
        """`[K, D]`."""
        return self.sums.value / self.counts.value[:, None]

    def __call__(self, encoded: jax.Array, train: bool) -> jax.Array:
        """Vectors `[B, T, D]` -> the numbers of the nearest, `[B, T]`; in training it learns."""
        away = encoded[:, :, None, :] - self.vectors()[None, None]
        codes = jnp.argmin(jnp.sum(away**2, axis=-1), axis=-1)
        if train and self.is_mutable_collection("codebook"):
            one_hot = jax.nn.one_hot(codes, self.size)
            sums = jnp.einsum("btk,btd->kd", one_hot, jax.lax.stop_gradient(encoded))
            counts = jnp.sum(one_hot, axis=(0, 1)) + 1e-5
            self.sums.value = self.kept * self.sums.value + (1 - self.kept) * sums
            self.counts.value = self.kept * self.counts.value + (1 - self.kept) * counts
        return codes


class VqVae(nn.Module):
    """x -> T codes of K -> p(x | codes)."""

    shape: tuple[int, ...]
    codes: int
    size: int
    width: int = 8

    def setup(self) -> None:
        self.encoder = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(self.codes * self.width)])
        self.decoder = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(math.prod(self.shape))])
        self.codebook = EmaCodebook(self.size, self.width)

    def encode(self, x: jax.Array) -> jax.Array:
        """The vectors `[B, T, D]` that are looked up."""
        return self.encoder(x.reshape(len(x), -1)).reshape(len(x), self.codes, self.width)

    def logits(self, vectors: jax.Array) -> jax.Array:
        """Vectors `[B, T, D]` -> the logits of pixels, `[B, *shape]`."""
        flat = vectors.reshape(len(vectors), -1)
        return self.decoder(flat).reshape(len(vectors), *self.shape)

    def posterior(self, batch: Batch) -> Point:
        """The codes, `[B, T]`, integers."""
        return Point(self.codebook(self.encode(batch["x"]), train=False))

    def prior(self, batch: Batch | None = None) -> None:
        """There is none."""

    def log_likelihood(self, batch: Batch, z: jax.Array) -> jax.Array:
        """Log p(x | codes), `[B]`, nats."""
        logits = self.logits(self.codebook.vectors()[z])
        return likelihoods.bernoulli_log_prob(logits, batch["x"])

    def decode(self, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        """Codes `[B, T]` -> the mean of x."""
        return jax.nn.sigmoid(self.logits(self.codebook.vectors()[z]))

    def draw(self, key: jax.Array, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        """Codes `[B, T]` -> zeros and ones."""
        return jax.random.bernoulli(key, self.decode(z)).astype(jnp.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commitment(Objective):
    """-log p(x | codes) + beta |encoded - its code|^2 (their equation 3), straight through."""

    variational: ClassVar[bool] = False
    beta: float = setting(0.25, at_least=0)
    """Weight of the commitment."""

    def terms(self, model: Any, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, the log-likelihood and the commitment."""
        encoded, before = model.encode(batch["x"]), model.codebook.vectors()
        codes = model.codebook(encoded, train=batch.get("train", False))
        looked_up = jax.lax.stop_gradient(before[codes])
        through = encoded + jax.lax.stop_gradient(looked_up - encoded)
        log_likelihood = likelihoods.bernoulli_log_prob(model.logits(through), batch["x"])
        commitment = jnp.sum((encoded - looked_up) ** 2, axis=(1, 2))
        loss = self.beta * commitment - log_likelihood
        per_pixel = -log_likelihood / (batch["x"].size // len(batch["x"]))
        return Terms(
            loss=loss,
            log_likelihood=log_likelihood,
            commitment=commitment,
            reconstruction_per_pixel=per_pixel,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AutoencoderConfig):
    """A VQ-VAE of dense layers."""

    name: ClassVar[str] = "vq_vae"
    codes: int = setting(8, at_least=1)
    """Codes of an image."""
    vectors: int = setting(32, at_least=2)
    """Vectors in the codebook."""
    beta: float = setting(0.25, at_least=0)
    """Weight of the commitment."""

    def model(self, spec: Spec) -> Model:
        """The network and its codebook."""
        return flax_model(VqVae(spec["x"].shape, self.codes, self.vectors))

    def criterion(self, spec: Spec) -> Objective:
        """The reconstruction and the commitment."""
        return Commitment(beta=self.beta)


if __name__ == "__main__":
    main(Config)
