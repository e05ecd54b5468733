"""Models: an encoder, a latent and a decoder, and their pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.generative import LatentVariableModel
from aejax.latents import DiagonalGaussian, standard_normal
from aejax.likelihoods.likelihood import Likelihood
from aejax.nets.layers import GLOROT


class Autoencoder(nn.Module):
    """A deterministic code: x `[B, H, W, C]` -> code `[B, latent_dim]` -> decoder outputs.

    Without a `latent_dim`, what the encoder gives is the code.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int | None = None

    def setup(self) -> None:
        if self.latent_dim is not None:
            self.code = nn.Dense(self.latent_dim, kernel_init=GLOROT)

    def encode(self, x: jax.Array) -> jax.Array:
        """Images `[B, H, W, C]` -> codes `[B, latent_dim]`."""
        features = self.encoder(x)
        return features if self.latent_dim is None else self.code(features)

    def decode(self, z: jax.Array) -> Any:
        """Codes `[B, latent_dim]` -> the likelihood's parameters."""
        return self.decoder(z)

    def reconstruct(self, x: jax.Array) -> Any:
        """Images `[B, H, W, C]` -> the likelihood's parameters at their codes."""
        return self.decode(self.encode(x))

    def __call__(self, x: jax.Array) -> Any:
        return self.reconstruct(x)


class VAE(nn.Module):
    """The variational autoencoder of Kingma & Welling 2014 (arXiv 1312.6114).

    A diagonal Gaussian posterior over a `latent_dim`-dimensional latent. Its prior is N(0, I), or
    what a module of `aejax.nets.priors` makes of `encode`.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int
    prior: nn.Module | None = None

    def setup(self) -> None:
        self.mean = nn.Dense(self.latent_dim, kernel_init=GLOROT)
        self.log_sigma = nn.Dense(self.latent_dim, kernel_init=GLOROT)

    def encode(self, x: jax.Array) -> DiagonalGaussian:
        """Images `[B, H, W, C]` -> the posterior q(z|x) over `[B, latent_dim]`."""
        features = self.encoder(x)
        return DiagonalGaussian(self.mean(features), self.log_sigma(features))

    def decode(self, z: jax.Array) -> Any:
        """Latents `[B, latent_dim]` -> the parameters of the likelihood p(x|z)."""
        return self.decoder(z)

    def p_z(self) -> Any:
        """The prior p(z) over `[latent_dim]`, with `log_prob` and `samples`."""
        return (
            standard_normal((self.latent_dim,)) if self.prior is None else self.prior(self.encode)
        )

    def reconstruct(self, x: jax.Array) -> Any:
        """Images `[B, H, W, C]` -> the likelihood's parameters at the posterior's mean."""
        return self.decode(self.encode(x).mean)

    def __call__(self, x: jax.Array, key: jax.Array) -> tuple[Any, DiagonalGaussian]:
        """Images and a key -> (the likelihood's parameters at one draw of z, the posterior)."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(key)), posterior


class ConditionalVAE(nn.Module):
    """A VAE given the class: q(z|x, y), p(z|y) and p(x|z, y) (Sohn, Lee & Yan 2015).

    The label as one-hot joins the encoder's features, before a Dense layer of `width`, and z before
    the decoder. p(z|y) is N(0, I), or what `prior` makes: a mixture with a first axis of classes.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int
    classes: int
    width: int = 128
    prior: nn.Module | None = None

    def setup(self) -> None:
        self.joined = nn.Dense(self.width, kernel_init=GLOROT)
        self.mean = nn.Dense(self.latent_dim, kernel_init=GLOROT)
        self.log_sigma = nn.Dense(self.latent_dim, kernel_init=GLOROT)

    def encode(self, x: jax.Array, labels: jax.Array) -> DiagonalGaussian:
        """Images `[B, H, W, C]`, labels `[B]` -> the posterior q(z|x, y) over `[B, latent_dim]`."""
        features = self._join(self.encoder(x), labels)
        features = nn.relu(self.joined(features))
        return DiagonalGaussian(self.mean(features), self.log_sigma(features))

    def decode(self, z: jax.Array, labels: jax.Array) -> Any:
        """Latents `[B, latent_dim]`, labels `[B]` -> the parameters of p(x|z, y)."""
        return self.decoder(self._join(z, labels))

    def p_z(self, labels: jax.Array) -> Any:
        """Labels `[B]` -> the priors p(z|y), over `[B, latent_dim]` under `jax.vmap`."""
        if self.prior is None:
            return standard_normal((len(labels), self.latent_dim))
        return jax.tree.map(lambda a: a[labels], self.prior())

    def __call__(self, x: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        """Images, labels, a key -> (the likelihood's parameters at one draw z, log q - log p of z).

        The latter is log q(z|x, y) - log p(z|y), `[B]`, whose mean over draws is the KL.
        """
        posterior = self.encode(x, labels)
        z = posterior.sample(key)
        log_p = jax.vmap(lambda prior, z: prior.log_prob(z))(self.p_z(labels), z)
        return self.decode(z, labels), posterior.log_prob(z) - log_p

    def reconstruct(self, x: jax.Array, labels: jax.Array) -> Any:
        """Images and labels -> the likelihood's parameters at the posterior's mean."""
        return self.decode(self.encode(x, labels).mean, labels)

    def everything(self, x: jax.Array, labels: jax.Array) -> Any:
        """What touches every parameter, to make them by."""
        return self.reconstruct(x, labels), self.p_z(labels)

    def _join(self, features: jax.Array, labels: jax.Array) -> jax.Array:
        one_hot = jax.nn.one_hot(labels, self.classes, dtype=features.dtype)
        return jnp.concatenate([features, one_hot], axis=-1)


class ModelFunctions(NamedTuple):
    """A model as pure functions of its parameters.

    Attributes:
        init: (key, images `[B, H, W, C]`) -> params.
        apply: (variables, images, ...) -> what the model's `__call__` gives.
        encode: (params, images `[B, H, W, C]`) -> a code `[B, D]`, or the posterior over it.
        decode: (params, codes `[B, D]`) -> the likelihood's parameters.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    apply: Callable[..., Any]
    encode: Callable[[Any, jax.Array], Any]
    decode: Callable[[Any, jax.Array], Any]


def functions(model: Autoencoder | VAE) -> ModelFunctions:
    """The pure functions of a model."""

    def everything(module: Any, x: jax.Array) -> Any:
        return module.reconstruct(x), module.p_z() if isinstance(module, VAE) else None

    return ModelFunctions(
        init=lambda key, x: model.init(key, x, method=everything)["params"],
        apply=model.apply,
        encode=lambda params, x: model.apply({"params": params}, x, method="encode"),
        decode=lambda params, z: model.apply({"params": params}, z, method="decode"),
    )


def tied(model: ModelFunctions) -> ModelFunctions:
    """An autoencoder of one dense layer each way, its decoder's kernel the encoder's transposed.

    The parameters are those of `model`, an `Autoencoder` of such layers, less the decoder's kernel.
    """

    def init(key: jax.Array, x: jax.Array) -> Any:
        params = model.init(key, x)
        return params | {"decoder": {"Dense_0": {"bias": params["decoder"]["Dense_0"]["bias"]}}}

    def whole(params: Any) -> Any:
        kernel = params["encoder"]["Dense_0"]["kernel"].T
        return params | {"decoder": {"Dense_0": params["decoder"]["Dense_0"] | {"kernel": kernel}}}

    return ModelFunctions(
        init=init,
        apply=lambda variables, *args: model.apply(
            {**variables, "params": whole(variables["params"])}, *args
        ),
        encode=lambda params, x: model.encode(whole(params), x),
        decode=lambda params, z: model.decode(whole(params), z),
    )


def latent_variable_model(model: VAE, likelihood: Likelihood) -> LatentVariableModel:
    """What bounds and evaluations need of a VAE and its likelihood."""
    pure = functions(model)

    def prior(params: Any) -> Any:
        return model.apply({"params": params}, method="p_z")

    return LatentVariableModel(
        encode=pure.encode,
        decode=pure.decode,
        likelihood=likelihood,
        prior=prior,
    )
