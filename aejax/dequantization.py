"""8-bit pixels as a density sees them: each drawn uniformly within its level."""

import jax


def dequantize(key: jax.Array, x: jax.Array) -> jax.Array:
    """(255 x + u) / 256 with u uniform on [0, 1): `[..., C]` of levels in [0, 1] -> the same shape.

    Uria, Murray & Larochelle 2013 (arXiv 1306.0186), section 5.1; Theis, van den Oord & Bethge 2016
    (arXiv 1511.01844), section 3.1: by Jensen's inequality the mean log-density at these points,
    less log 256 a dimension, is at most the log-probability that the density's integral over a
    level gives it. A density of the levels themselves can be as high as one likes, and bounds
    nothing.
    """
    return (255 * x + jax.random.uniform(key, x.shape, x.dtype)) / 256
