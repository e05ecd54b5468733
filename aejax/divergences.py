"""Divergences between distributions over the latent, in nats."""

import jax
import jax.numpy as jnp


def gaussian_kl(mean: jax.Array, log_sigma: jax.Array) -> jax.Array:
    """KL(N(mean, exp(log_sigma)^2) || N(0, I)) in nats, summed over the last axis.

    Kingma & Welling 2014 (arXiv 1312.6114), appendix B. With s = log sigma, each dimension gives
    1/2 (sigma^2 + mean^2 - 1) - s = 1/2 (expm1(2 s) + mean^2) - s; expm1 keeps the small KL of a
    nearly collapsed posterior, which the subtraction of two numbers near 1 would round away.

    Args:
        mean: `[B, D]`.
        log_sigma: `[B, D]`, the log of the standard deviation (not of the variance).

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes differ.
    """
    if jnp.shape(mean) != jnp.shape(log_sigma):
        raise ValueError(
            f"mean {jnp.shape(mean)} and log_sigma {jnp.shape(log_sigma)} differ in shape: "
            "give each latent dimension its own log_sigma"
        )
    return jnp.sum(0.5 * (jnp.expm1(2 * log_sigma) + mean**2) - log_sigma, axis=-1)


def gaussian_kl_between(
    mean: jax.Array, log_sigma: jax.Array, prior_mean: jax.Array, prior_log_sigma: jax.Array
) -> jax.Array:
    """KL(N(mean, exp(log_sigma)^2) || N(prior_mean, exp(prior_log_sigma)^2)), both diagonal.

    The KL is unchanged when both are shifted by -prior_mean and divided by the prior's sigma, which
    turns the second into N(0, I).

    Args:
        mean: `[B, D]` of the first Gaussian.
        log_sigma: `[B, D]`, its log standard deviation.
        prior_mean: `[B, D]` of the second Gaussian.
        prior_log_sigma: `[B, D]`, its log standard deviation.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes differ.
    """
    shapes = {jnp.shape(a) for a in (mean, log_sigma, prior_mean, prior_log_sigma)}
    if len(shapes) > 1:
        raise ValueError(
            f"the four parameters have shapes {sorted(shapes)}: broadcast them to one shape first"
        )
    return gaussian_kl((mean - prior_mean) * jnp.exp(-prior_log_sigma), log_sigma - prior_log_sigma)
