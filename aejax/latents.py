"""Latent distributions: the reparameterised Gaussian posterior and the standard normal prior."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aejax.axes import require_events
from aejax.divergences import gaussian_kl_per_dimension
from aejax.precision import floats

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

    def samples(self, key: jax.Array, count: int) -> jax.Array:
        """`count` independent reparameterised draws, `[count, ..., D]`.

        Raises:
            ValueError: if `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"{count} samples cannot be drawn: give at least 1")
        shape = (count, *self.mean.shape)
        mean, log_sigma = (jnp.broadcast_to(a, shape) for a in (self.mean, self.log_sigma))
        return reparameterize(key, mean, log_sigma)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log N(z; mean, sigma^2) in nats, summed over the last axis: `[..., D]` -> `[...]`.

        z may have further axes in front, such as that of the draws: `[K, B, D]` for `[B, D]`.
        """
        return jnp.sum(self.log_prob_per_dimension(z), axis=-1)

    def log_prob_per_dimension(self, z: jax.Array) -> jax.Array:
        """The summands of `log_prob`: `[..., D]`."""
        z, mean, log_sigma = floats(z, self.mean, self.log_sigma)
        require_events("z", z)
        further = tuple(range(z.ndim - mean.ndim))
        mean, log_sigma = (jnp.expand_dims(a, further) for a in (mean, log_sigma))
        standardised = (z - mean) * jnp.exp(-log_sigma)
        return -0.5 * (standardised**2 + LOG_2PI) - log_sigma

    def kl(self, prior: Any) -> jax.Array:
        """KL to another diagonal Gaussian in nats, summed over the last axis: `[...]`.

        Raises:
            ValueError: if `prior` is of another kind, to which no KL is closed.
        """
        return jnp.sum(self.kl_per_dimension(prior), axis=-1)

    def kl_per_dimension(self, prior: Any) -> jax.Array:
        """The summands of `kl`: `[..., D]`."""
        if not isinstance(prior, DiagonalGaussian):
            raise ValueError(
                f"the KL to a {type(prior).__name__} is not closed: give an objective that samples "
                "it, such as --objective sampled or iwae"
            )
        # Shifted and scaled so that the prior is N(0, I); the same numbers where it is already.
        mean, log_sigma, *of_prior = floats(self.mean, self.log_sigma, prior.mean, prior.log_sigma)
        require_events("mean", mean)
        further = tuple(range(mean.ndim - prior.mean.ndim))
        prior_mean, prior_log_sigma = (jnp.expand_dims(a, further) for a in of_prior)
        mean = (mean - prior_mean) * jnp.exp(-prior_log_sigma)
        return gaussian_kl_per_dimension(mean, log_sigma - prior_log_sigma)


def standard_normal(shape: tuple[int, ...]) -> DiagonalGaussian:
    """The prior N(0, I) as a `DiagonalGaussian` of the given shape `(..., D)`."""
    return DiagonalGaussian(jnp.zeros(shape), jnp.zeros(shape))


class GaussianMixture(NamedTuple):
    """A mixture of K equally likely Gaussians N(mean[k], factor[k] factor[k]^T).

    Attributes:
        mean: `[K, D]`.
        factor: `[K, D, D]`, any square root of each covariance, such as a rotation times scales.
    """

    mean: jax.Array
    factor: jax.Array

    def samples(self, key: jax.Array, count: int) -> jax.Array:
        """`count` independent draws, `[count, D]`."""
        component_key, noise_key = jax.random.split(key)
        components, dim = self.mean.shape
        component = jax.random.randint(component_key, (count,), 0, components)
        noise = jax.random.normal(noise_key, (count, dim), self.mean.dtype)
        return self.mean[component] + jnp.einsum("nij,nj->ni", self.factor[component], noise)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Log-density in nats: `[N, D]` -> `[N]`."""
        z, mean, factor = floats(z, self.mean, self.factor)
        offsets = z[:, None, :] - mean[None, :, :]
        standardised = jnp.einsum("kij,nkj->nki", jnp.linalg.inv(factor), offsets)
        log_volume = jnp.linalg.slogdet(factor).logabsdet
        squares = jnp.sum(standardised**2 + LOG_2PI, axis=-1)
        of_each = -0.5 * squares - log_volume[None, :]
        return jax.nn.logsumexp(of_each, axis=-1) - math.log(len(self.mean))


def gaussian_ring(
    components: int = 10, radius: float = 4.0, radial: float = 1.0, tangential: float = 0.3
) -> GaussianMixture:
    """Gaussians in the plane, evenly on a circle and longer outwards than along it.

    The prior of Makhzani et al. 2015 (arXiv 1511.05644), figure 2; the sizes are ours.

    Args:
        components: how many, K; the first lies on the first axis.
        radius: the circle's.
        radial: standard deviation outwards.
        tangential: standard deviation along the circle.
    """
    angle = 2 * jnp.pi * jnp.arange(components) / components
    outwards = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    along = jnp.stack([-jnp.sin(angle), jnp.cos(angle)], axis=-1)
    factor = jnp.stack([radial * outwards, tangential * along], axis=-1)
    return GaussianMixture(radius * outwards, factor)
