"""A VAE of token sequences: a recurrent decoder that is given z and the tokens before."""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.cli.commands import main
from aejax.latents import DiagonalGaussian, standard_normal
from aejax.models import Model, flax_model, rebound
from aejax.runs.families import VaeConfig
from aejax.settings import setting
from aejax.types import Batch, Spec


class TokenVae(nn.Module):
    """Tokens `[B, T]` of a vocabulary; p(x|z) = prod_t p(x_t | x_<t, z), teacher-forced."""

    steps: int
    vocabulary: int
    latent_dim: int
    width: int

    def setup(self) -> None:
        self.embed = nn.Embed(self.vocabulary + 1, self.width)  # one more begins a sequence
        self.reader, self.writer = (nn.RNN(nn.GRUCell(self.width)) for _ in range(2))
        self.mean, self.log_sigma = nn.Dense(self.latent_dim), nn.Dense(self.latent_dim)
        self.logits = nn.Dense(self.vocabulary)

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        """q(z|x) over `[B, latent_dim]`, from the last state of the reader."""
        state = self.reader(self.embed(batch["x"]))[:, -1]
        return DiagonalGaussian(self.mean(state), self.log_sigma(state))

    def prior(self, batch: Batch | None = None) -> DiagonalGaussian:
        """N(0, I)."""
        return standard_normal((self.latent_dim,))

    def log_likelihood(self, batch: Batch, z: jax.Array) -> jax.Array:
        """Log p(x|z), nats: `[B]`, or `[K, B]` for draws z `[K, B, D]`."""
        x = jnp.broadcast_to(batch["x"], (*z.shape[:-1], self.steps))
        flat, z = x.reshape(-1, self.steps), z.reshape(-1, z.shape[-1])
        log_p = jax.nn.log_softmax(self.logits(self.writer(self._inputs(flat, z))))
        chosen = jnp.take_along_axis(log_p, flat[..., None], axis=-1)[..., 0]
        return jnp.sum(chosen, axis=-1).reshape(x.shape[:-1])

    def decode(self, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        """The most likely token at every step, `[B, T]`."""
        return self._written(z, lambda key, logits: jnp.argmax(logits, axis=-1), jax.random.key(0))

    def draw(self, key: jax.Array, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        """Tokens `[B, T]`, drawn one after the other in one compiled loop."""
        return self._written(z, jax.random.categorical, key)

    def step(self, state: Any, token: jax.Array, z: jax.Array) -> tuple[Any, jax.Array]:
        """One step of the writer: the token before -> the logits `[B, V]`."""
        state, output = self.writer.cell(state, jnp.concatenate([self.embed(token), z], axis=-1))
        return state, self.logits(output)

    def _inputs(self, x: jax.Array, z: jax.Array) -> jax.Array:
        """The embedded tokens before each, with z at every step, `[B, T, width + D]`."""
        begin = jnp.full((len(x), 1), self.vocabulary)
        before = self.embed(jnp.concatenate([begin, x[:, :-1]], axis=1))
        at_each = jnp.broadcast_to(z[:, None], (*before.shape[:2], z.shape[-1]))
        return jnp.concatenate([before, at_each], axis=-1)

    def _written(self, z: jax.Array, choose: Any, key: jax.Array) -> jax.Array:
        begin = jnp.full(len(z), self.vocabulary), jnp.zeros((len(z), self.width))

        def write(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            token, state = carry
            state, logits = rebound(self).step(state, token, z)
            token = choose(key, logits).astype(jnp.int32)
            return (token, state), token

        keys = jax.random.split(key, self.steps)
        return jax.lax.scan(write, (begin[0].astype(jnp.int32), begin[1]), keys)[1].T


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VaeConfig):
    """A VAE of token sequences with a recurrent decoder."""

    name: ClassVar[str] = "token_vae"
    vocabulary: int = setting(90, at_least=2)
    """Tokens are 0 up to one less."""
    width: int = setting(32, at_least=1)
    """Units of either network."""

    def model(self, spec: Spec) -> Model:
        """The recurrent pair about a latent."""
        (steps,) = spec["x"].shape
        return flax_model(TokenVae(steps, self.vocabulary, self.latent_dim, self.width))


if __name__ == "__main__":
    main(Config)
