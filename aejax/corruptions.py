"""What a denoiser is given: images `[B, H, W, C]` in [0, 1] -> the same, damaged, in [0, 1]."""

import jax
import jax.numpy as jnp


def gaussian_noise(
    key: jax.Array, x: jax.Array, mean: float = 0.0, sigma: float = 0.5
) -> jax.Array:
    """Adds N(mean, sigma^2) to every pixel and clips to [0, 1]."""
    return jnp.clip(x + mean + sigma * jax.random.normal(key, x.shape, x.dtype), 0, 1)


def salt_and_pepper(key: jax.Array, x: jax.Array, rate: float = 0.3) -> jax.Array:
    """Sets a share `rate` of the pixels, chosen at random, to 0 or 1 at equal chance."""
    uniform = jax.random.uniform(key, x.shape, x.dtype)
    hit, white = (jnp.astype(uniform < share, x.dtype) for share in (rate, rate / 2))
    # Products, for a select wants both on one sharding where mesh axes are explicit.
    return x * (1 - hit) + white


def masking(key: jax.Array, x: jax.Array, rate: float = 0.5) -> jax.Array:
    """Sets a share `rate` of the pixels, chosen at random, to 0 (Vincent et al. 2010, 3.3)."""
    return x * (1 - jax.random.bernoulli(key, rate, x.shape).astype(x.dtype))
