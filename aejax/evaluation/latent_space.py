"""Moving through a latent space: between codes, along a dimension, along an attribute."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Between = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def lerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """The point at t on the straight line from a to b, both `[..., D]`; t a scalar."""
    return (1 - t) * a + t * b


def slerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """The point at t on the great arc from a to b: (sin((1 - t) w) a + sin(t w) b) / sin(w).

    Shoemake 1985, "Animating rotation with quaternion curves"; w is the angle between a and b. It
    keeps the norm where both have one norm, which is how White 2016 (arXiv 1609.04468) stays among
    the prior's typical codes. Where a and b are parallel or opposite it is `lerp`.

    Args:
        a: `[..., D]`.
        b: `[..., D]`.
        t: scalar in [0, 1].

    Returns:
        `[..., D]`; a at t = 0 and b at t = 1, exactly.
    """
    u, v = _unit(a), _unit(b)
    # Kahan's form: the arc cosine loses half of the digits of a small angle.
    angle = 2 * jnp.arctan2(_norm(u - v), _norm(u + v))
    parallel = jnp.sin(angle) < 1e-4
    angle = jnp.where(parallel, 1.0, angle)
    # Divided first, the weights of the ends are 1 to the bit.
    from_a, from_b = (jnp.sin(part * angle) / jnp.sin(angle) for part in (1 - t, t))
    return jnp.where(parallel, lerp(a, b, t), from_a * a + from_b * b)


def path(between: Between, a: jax.Array, b: jax.Array, steps: int) -> jax.Array:
    """`between(a, b, t)` at `steps` equal steps of t from 0 to 1: `[..., D]` x 2 -> `[T, ..., D]`.

    `between` is `lerp` or `slerp`.
    """
    return jax.vmap(between, in_axes=(None, None, 0))(a, b, jnp.linspace(0, 1, steps))


def traversal(code: jax.Array, dimensions: jax.Array, values: jax.Array) -> jax.Array:
    """The code with one dimension set to each of its values, a row a dimension.

    Args:
        code: `[D]`.
        dimensions: `[K]`, int.
        values: `[K, T]`, those of each dimension.

    Returns:
        `[K, T, D]`.
    """
    along = jax.vmap(lambda dimension, value: code.at[dimension].set(value), in_axes=(None, 0))
    return jax.vmap(along)(dimensions, values)


def attribute_vector(codes: jax.Array, values: jax.Array) -> jax.Array:
    """Mean code of the quarter with the highest values minus that of the quarter with the lowest.

    Roberts et al. 2018 (MusicVAE, arXiv 1803.05428): added to a code, it is to raise
    the attribute and leave the rest.

    Args:
        codes: `[N, D]`.
        values: `[N]`, the attribute of each; those equal to a quartile are counted in.

    Returns:
        `[D]`.
    """
    low, high = jnp.quantile(values, jnp.array([0.25, 0.75]))
    top, bottom = (mask.astype(codes.dtype) for mask in (values >= high, values <= low))
    return top @ codes / top.sum() - bottom @ codes / bottom.sum()


def ink(images: jax.Array) -> jax.Array:
    """The mean pixel of images `[N, H, W, C]`: `[N]`."""
    return jnp.mean(images, axis=(1, 2, 3))


def slant(images: jax.Array) -> jax.Array:
    """The shear of images `[N, H, W, C]` by their second moments: `[N]`, positive leaning right.

    cov(x, y) / var(y) of the ink, y upwards (Morpho-MNIST, Castro et al. 2019); 0 without ink.
    """
    weight = jnp.mean(images, axis=-1)
    y, x = jnp.mgrid[: images.shape[1], : images.shape[2]]
    total = jnp.maximum(jnp.sum(weight, axis=(1, 2)), 1e-6)

    def mean(values: jax.Array) -> jax.Array:
        return jnp.sum(weight * values, axis=(1, 2)) / total

    x = x[None] - mean(x[None])[:, None, None]
    y = mean(y[None])[:, None, None] - y[None]
    return mean(x * y) / jnp.maximum(mean(y**2), 1e-6)


def class_entropy(labels: np.ndarray) -> float:
    """Entropy of the labels' histogram, nats: log of the number of classes if all are as many."""
    _, counts = np.unique(labels, return_counts=True)
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log(shares)))


def _norm(a: jax.Array) -> jax.Array:
    return jnp.linalg.norm(a, axis=-1, keepdims=True)


def _unit(a: jax.Array) -> jax.Array:
    return a / jnp.maximum(_norm(a), jnp.finfo(a.dtype).tiny)
