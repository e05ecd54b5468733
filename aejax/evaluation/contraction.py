"""How far a code moves with its image: infinitesimally, and by noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Encode = Callable[[jax.Array], jax.Array]


def jacobian_norms(encode: Encode, x: jax.Array) -> jax.Array:
    """||dh/dx||_F of each image, exactly: `[B, H, W, C]` -> `[B]`.

    `encode` gives codes `[B, D]`, of which each row depends on its own image alone. It takes D
    reverse passes.
    """

    def norm(image: jax.Array) -> jax.Array:
        return jnp.linalg.norm(jax.jacrev(lambda row: encode(row[None])[0])(image).ravel())

    return jax.lax.map(norm, x, batch_size=64)


def moved_by_noise(
    encode: Encode, x: jax.Array, key: jax.Array, deviation: float = 0.2
) -> jax.Array:
    """How far noise in the images moves their codes, over the spread of the codes, a scalar.

    The root of the mean of ||h(x + e) - h(x)||^2 over that of ||h(x) - mean h||^2, with e ~
    N(0, deviation^2) in every pixel. Codes that are only smaller have the same value.

    Args:
        encode: images -> codes `[B, D]`.
        x: `[B, H, W, C]` in [0, 1].
        key: a random key, used once.
        deviation: the noise's standard deviation.
    """
    code = encode(x)
    moved = encode(x + deviation * jax.random.normal(key, x.shape)) - code
    spread = code - jnp.mean(code, axis=0, keepdims=True)
    return jnp.sqrt(jnp.sum(moved**2) / jnp.sum(spread**2))
