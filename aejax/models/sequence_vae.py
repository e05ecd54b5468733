"""The variational autoencoder of sequences of tokens (MusicVAE)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.latents import DiagonalGaussian
from aejax.likelihoods import tokens
from aejax.models.decoding import log_prob
from aejax.models.model import Model, flax_model, held
from aejax.models.vae import VAE
from aejax.nets.sequences import Choose
from aejax.types import Batch


class SequenceVAE(VAE, kw_only=True):
    """p(x|z) = prod_t p(x_t | x_<t, z) of tokens (Roberts et al. 2018, arXiv 1803.05428).

    A batch's "x" are tokens `[B, T]`, or `[B, R, T]` of R tracks, whose log-probabilities add up.
    Arrays that `conditions` names, `[B, S, C]` for an S that divides T, join the inputs of encoder
    and decoder, each for T / S steps; where they are not given, they are zeros.

    Attributes:
        shape: of one x, (T,) or (R, T).
        conditions: by name, how many numbers C a step has.
    """

    shape: tuple[int, ...]
    conditions: tuple[tuple[str, int], ...] = ()

    @property
    def conditional(self) -> bool:
        """Whether it is given more than x."""
        return bool(self.conditions)

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        features = self.encoder(self._tracks(batch["x"]), self._around(batch, len(batch["x"])))
        return DiagonalGaussian(self.mean(features), self.log_sigma(features))

    def logits(self, batch: Batch, z: jax.Array, fed: jax.Array | None = None) -> jax.Array:
        """The logits of every step, `[N, *shape, V]`.

        Args:
            batch: of B examples.
            z: `[N, D]`, N / B for each of the batch's examples in turn.
            fed: the token that is fed after each step, as x; by default x, teacher forcing.
        """
        x = batch["x"] if fed is None else fed
        x = jnp.repeat(x, len(z) // len(x), axis=0)
        logits = self.decoder(z, self._tracks(x), self._around(batch, len(z)))
        return logits.reshape(*x.shape, -1)

    def log_likelihood(self, batch: Batch, z: jax.Array) -> jax.Array:
        return log_prob(self.likelihood, lambda z: self.logits(batch, z), batch["x"], z)

    def decode(self, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        """The likeliest token at every step, given those before that were written so."""
        return self.written(
            z,
            lambda logits, _: jnp.argmax(logits, axis=-1),
            tuple(jnp.zeros((self.decoder.tracks, self.shape[-1]))),
            batch,
        )

    def draw(
        self,
        key: jax.Array,
        z: jax.Array,
        batch: Batch | None = None,
        temperature: jax.Array | float = 1.0,
    ) -> jax.Array:
        """Tokens as x, drawn one after the other; logits are divided by the temperature."""

        def choose(logits: jax.Array, key: jax.Array) -> jax.Array:
            return jax.random.categorical(key, logits / temperature)

        return self.written(z, choose, self._keys(key), batch)

    def fed(
        self, batch: Batch, z: jax.Array, key: jax.Array, chance: jax.Array | float
    ) -> jax.Array:
        """Tokens as x: the model's own draws with a chance each, those of x else.

        What scheduled sampling feeds (Bengio et al. 2015, arXiv 1506.03099). A draw is that of a
        step that was fed so itself. No gradient goes through it.
        """
        coin_key, draw_key = jax.random.split(key)
        true = self._tracks(batch["x"]).transpose(1, 2, 0)
        coins = jax.random.bernoulli(coin_key, chance, true.shape)

        def choose(logits: jax.Array, given: Any) -> jax.Array:
            key, coin, true = given
            return jnp.where(coin, jax.random.categorical(key, logits), true)

        given = tuple(zip(self._keys(draw_key), coins, true, strict=True))
        return held(self).written(jax.lax.stop_gradient(z), choose, given, batch)

    def written(
        self, z: jax.Array, choose: Choose, given: Any, batch: Batch | None = None
    ) -> jax.Array:
        """Tokens as x that `choose` makes, one after the other; see `SequenceDecoder.write`."""
        found = self.decoder.write(z, choose, given, self._around(batch, len(z)))
        return found.reshape(len(z), *self.shape)

    def _keys(self, key: jax.Array) -> tuple[jax.Array, ...]:
        """For each track a key for each step."""
        return tuple(jax.random.split(key, (self.decoder.tracks, self.shape[-1])))

    def _tracks(self, x: jax.Array) -> jax.Array:
        return x.reshape(len(x), -1, self.shape[-1])

    def _around(self, batch: Batch | None, rows: int) -> jax.Array | None:
        """The conditions of each step, `[T, rows, C]`, or None where the model has none."""
        found = []
        for name, size in self.conditions:
            given = jnp.asarray((batch or {}).get(name, jnp.zeros((1, 1, size))), jnp.float32)
            given = jnp.repeat(given, rows // len(given), axis=0)
            found.append(jnp.repeat(given, self.shape[-1] // given.shape[1], axis=1))
        return jnp.concatenate(found, axis=-1).transpose(1, 0, 2) if found else None


def sequence_vae(
    encoder: nn.Module,
    decoder: nn.Module,
    latent_dim: int,
    shape: tuple[int, ...],
    conditions: tuple[tuple[str, int], ...] = (),
) -> Model:
    """The functions of a `SequenceVAE`.

    Args:
        encoder: such as `nets.sequences.BidirectionalEncoder`.
        decoder: such as `nets.writers.SequenceDecoder`.
        latent_dim: dimensions of the latent.
        shape: of one x, (T,) or (R, T).
        conditions: names of arrays `[B, S, C]` that are given to both, with their C.
    """
    module = SequenceVAE(encoder, decoder, tokens(), latent_dim, shape=shape, conditions=conditions)
    return flax_model(module)
