"""A latent variable model p(z) p(x|z) with its approximate posterior q(z|x), as plain functions."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from aejax.latents import DiagonalGaussian
from aejax.likelihoods.likelihood import Likelihood


class Prior(Protocol):
    """p(z) over `[D]`, such as `standard_normal((D,))` or a mixture of `aejax.priors`."""

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Nats: `[..., D]` -> `[...]`."""

    def samples(self, key: jax.Array, count: int) -> jax.Array:
        """`count` independent draws, `[count, D]`."""


class LatentVariableModel(NamedTuple):
    """What bounds, objectives and evaluations need of a variational autoencoder.

    Attributes:
        encode: (params, x `[B, ...]`) -> q(z|x), a `DiagonalGaussian` over `[B, D]`.
        decode: (params, z `[N, D]`) -> the likelihood's parameters, each `[N, ...]` or a scalar.
        likelihood: p(x|z), a `Likelihood`.
        prior: params -> p(z).
    """

    encode: Callable[[Any, jax.Array], DiagonalGaussian]
    decode: Callable[[Any, jax.Array], Any]
    likelihood: Likelihood
    prior: Callable[[Any], Prior]

    def log_likelihood(self, params: Any, x: jax.Array, z: jax.Array) -> jax.Array:
        """Log p(x|z) in nats of each draw of z: x `[B, ...]`, z `[K, B, D]` -> `[K, B]`.

        Raises:
            ValueError: if z is not `[K, B, D]` for the B of x.
        """
        if z.ndim != 3 or z.shape[1] != len(x):
            raise ValueError(
                f"z {z.shape} is not [K, {len(x)}, D] for x {x.shape}: samples are the first axis, "
                "images the second"
            )
        # One product of all draws with the decoder's weights, and x never repeated.
        outputs = self.decode(params, z.reshape(-1, z.shape[-1]))
        apart = jax.tree.map(
            lambda a: a if jnp.ndim(a) == 0 else a.reshape(*z.shape[:2], *a.shape[1:]), outputs
        )
        axes = jax.tree.map(lambda a: None if jnp.ndim(a) == 0 else 0, outputs)
        return jax.vmap(self.likelihood.log_prob, in_axes=(axes, None))(apart, x)

    def log_joint(self, params: Any, x: jax.Array, z: jax.Array) -> jax.Array:
        """Log p(x, z) in nats: x `[B, ...]`, z `[K, B, D]` -> `[K, B]`."""
        return self.log_likelihood(params, x, z) + self.prior(params).log_prob(z)

    def log_weights(self, params: Any, x: jax.Array, key: jax.Array, samples: int) -> jax.Array:
        """Log p(x, z) - log q(z|x) in nats at draws of z from q(z|x): `[samples, B]`.

        Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), equation 8.
        """
        posterior = self.encode(params, x)
        z = posterior.samples(key, samples)
        return self.log_joint(params, x, z) - posterior.log_prob(z)
