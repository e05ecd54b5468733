"""Latent distributions: the reparameterised Gaussian posterior and the standard normal prior."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

LOG_2PI = 1.8378770664093453


def reparameterize(key: jax.Array, mean: jax.Array, log_sigma: jax.Array) -> jax.Array:
    """Draws z ~ N(mean, exp(log_sigma)^2) as a differentiable function of mean and log_sigma.

    Kingma & Welling 2014 (arXiv 1312.6114), section 2.4: z = mean + sigma * epsilon.

    Args:
        key: a random key, used once.
        mean: `[..., D]`.
        log_sigma: `[..., D]`, the log of the standard deviation.

    Returns:
        `[..., D]`, one draw for each element of `mean`.

    Raises:
        ValueError: if `mean` and `log_sigma` differ in shape.
    """
    if jnp.shape(mean) != jnp.shape(log_sigma):
        raise ValueError(
            f"mean {jnp.shape(mean)} and log_sigma {jnp.shape(log_sigma)} differ in shape: "
            "give each latent dimension its own log_sigma"
        )
    epsilon = jax.random.normal(key, jnp.shape(mean), jnp.result_type(mean))
    return mean + jnp.exp(log_sigma) * epsilon


class DiagonalGaussian(NamedTuple):
    """N(mean, diag(exp(log_sigma)^2)) over the last axis; a pytree of two `[..., D]` arrays."""

    mean: jax.Array
    log_sigma: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """One reparameterised draw, `[..., D]`."""
        return reparameterize(key, self.mean, self.log_sigma)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log N(z; mean, sigma^2) in nats, summed over the last axis: `[..., D]` -> `[...]`."""
        standardised = (z - self.mean) * jnp.exp(-self.log_sigma)
        return jnp.sum(-0.5 * (standardised**2 + LOG_2PI) - self.log_sigma, axis=-1)


def standard_normal(shape: tuple[int, ...]) -> DiagonalGaussian:
    """The prior N(0, I) as a `DiagonalGaussian` of the given shape `(..., D)`."""
    return DiagonalGaussian(jnp.zeros(shape), jnp.zeros(shape))
