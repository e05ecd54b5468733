"""The variational autoencoder that is given the class."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.latents import DiagonalGaussian, standard_normal
from aejax.likelihoods.likelihood import Likelihood
from aejax.models.autoencoder import Point
from aejax.models.decoding import log_prob
from aejax.models.model import Model, flax_model
from aejax.nets.layers import GLOROT
from aejax.types import Batch


class PriorOfClasses(NamedTuple):
    """p(z|y) of a batch, distributions with a first axis of B; a pytree."""

    each: Any

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Nats: `[B, D]` -> `[B]`, or `[K, B, D]` -> `[K, B]`."""
        of_one = jax.vmap(lambda prior, z: prior.log_prob(z))
        return of_one(self.each, z) if z.ndim == 2 else jax.vmap(of_one, (None, 0))(self.each, z)

    def sample(self, key: jax.Array) -> jax.Array:
        """One draw for each of the batch, `[B, D]`."""
        count = len(jax.tree.leaves(self.each)[0])
        keys = jax.random.split(key, count)
        return jax.vmap(lambda prior, key: prior.samples(key, 1)[0])(self.each, keys)


class CodesOfClasses(NamedTuple):
    """p(z, y) of classes in turn, as codes `[z, one-hot of y]`; `each` is p(z|y) of every class."""

    each: Any

    def samples(self, key: jax.Array, count: int) -> jax.Array:
        """`[count, latent_dim + classes]`."""
        classes = len(jax.tree.leaves(self.each)[0])
        labels = jnp.arange(count) % classes
        z = PriorOfClasses(jax.tree.map(lambda a: a[labels], self.each)).sample(key)
        return jnp.concatenate([z, jax.nn.one_hot(labels, classes)], axis=-1)


class ConditionalVAE(nn.Module):
    """A VAE given the class: q(z|x, y), p(z|y) and p(x|z, y) (Sohn, Lee & Yan 2015).

    The batch's "label" as one-hot joins the encoder's features, before a Dense layer of `width`,
    and z before the decoder. p(z|y) is N(0, I), or what `prior_net` makes: a mixture with a first
    axis of classes.

    Where a batch has no label, codes carry the class: they are `[z, one-hot of y]`, y being the
    class of the highest ELBO (its expectations at the posterior's mean), and draws of the prior
    have the classes in turn.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int
    classes: int
    likelihood: Likelihood
    prior_net: nn.Module | None = None
    width: int = 128
    conditional: ClassVar[bool] = True

    def setup(self) -> None:
        self.joined = nn.Dense(self.width, kernel_init=GLOROT)
        self.mean = nn.Dense(self.latent_dim, kernel_init=GLOROT)
        self.log_sigma = nn.Dense(self.latent_dim, kernel_init=GLOROT)

    def posterior(self, batch: Batch) -> Any:
        if "label" not in batch:
            return Point(self._most_likely(batch))
        features = self._join(self.encoder(batch["x"]), batch["label"])
        features = nn.relu(self.joined(features))
        return DiagonalGaussian(self.mean(features), self.log_sigma(features))

    def prior(self, batch: Batch | None = None) -> Any:
        if batch is None or "label" not in batch:
            return CodesOfClasses(self._prior_of(jnp.arange(self.classes)).each)
        return self._prior_of(batch["label"])

    def log_likelihood(self, batch: Batch, z: jax.Array) -> jax.Array:
        labels = batch["label"]

        def decode(z: jax.Array) -> Any:
            return self.decoder(self._join(z, jnp.repeat(labels, len(z) // len(labels))))

        return log_prob(self.likelihood, decode, batch["x"], z)

    def decode(self, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        return self.likelihood.mean(self._decode(z, batch))

    def draw(self, key: jax.Array, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        return self.likelihood.sample(key, self._decode(z, batch))

    def _decode(self, z: jax.Array, batch: Batch | None) -> Any:
        if batch is None or "label" not in batch:
            z, one_hot = jnp.split(z, [self.latent_dim], axis=-1)
            return self.decoder(self._join(z, jnp.argmax(one_hot, axis=-1)))
        return self.decoder(self._join(z, batch["label"]))

    def _prior_of(self, labels: jax.Array) -> PriorOfClasses:
        if self.prior_net is None:
            return PriorOfClasses(standard_normal((len(labels), self.latent_dim)))
        return PriorOfClasses(jax.tree.map(lambda a: a[labels], self.prior_net()))

    def _most_likely(self, batch: Batch) -> jax.Array:
        """Maps x `[B, ...]` to codes `[B, latent_dim + classes]`."""
        posteriors = [self._under(batch, label) for label in range(self.classes)]
        elbos, means = (jnp.stack(values) for values in zip(*posteriors, strict=True))
        best = jnp.argmax(elbos, axis=0)
        z = jnp.take_along_axis(means, best[None, :, None], axis=0)[0]
        return jnp.concatenate([z, jax.nn.one_hot(best, self.classes)], axis=-1)

    def _under(self, batch: Batch, label: int) -> tuple[jax.Array, jax.Array]:
        """The ELBO at the posterior's mean, up to what all classes share, and that mean."""
        batch = batch | {"label": jnp.full(len(batch["x"]), label)}
        posterior = self.posterior(batch)
        log_p = self.prior(batch).log_prob(posterior.mean)
        entropy = jnp.sum(posterior.log_sigma, axis=-1)
        return self.log_likelihood(batch, posterior.mean) + log_p + entropy, posterior.mean

    def _join(self, features: jax.Array, labels: jax.Array) -> jax.Array:
        one_hot = jax.nn.one_hot(labels, self.classes, dtype=features.dtype)
        return jnp.concatenate([features, one_hot], axis=-1)


def conditional_vae(
    encoder: nn.Module,
    decoder: nn.Module,
    latent_dim: int,
    classes: int,
    likelihood: Likelihood,
    prior: nn.Module | None = None,
) -> Model:
    """The functions of a `ConditionalVAE`; `prior` is such as `nets.priors.ClassMixturePrior`."""
    return flax_model(ConditionalVAE(encoder, decoder, latent_dim, classes, likelihood, prior))
