"""Continuous Bernoulli pixels: the Bernoulli's x l made a density over x in [0, 1].

Loaiza-Ganem & Cunningham 2019 (arXiv 1907.06845), section 3. With the logit l the density is
exp(x l) / integral of exp(t l) over t in [0, 1], uniform at l = 0. Swapping black and white, x for
1 - x, only turns the sign of l, and with l <= 0 no two large numbers are subtracted.
"""

import jax
import jax.numpy as jnp

from aejax.likelihoods.likelihood import (
    Likelihood,
    as_float,
    as_rows,
    require_same_shape,
    require_unit_interval,
)

_SMALL = (
    0.5  # where the series below is exact to 1e-11, and the closed form's slope to 1e-7 / _SMALL
)


def log_partition(logits: jax.Array) -> jax.Array:
    """Log of the integral of exp(t l) over t in [0, 1], log((e^l - 1) / l), for l <= 0.

    l/2 + log(sinh(l/2) / (l/2)) = l/2 + l^2/24 - l^4/2880 + l^6/181440 - l^8/9676800 + ... near 0,
    where the closed form is 0/0 and the two parts of its derivative, each near 1/l, cancel.
    """
    small = logits > -_SMALL
    # Each branch is given arguments that suit it: a NaN in the one not taken would reach the
    # gradient, 0 times NaN.
    near, far = jnp.where(small, logits, 0.0), jnp.where(small, -1.0, logits)
    square = near**2
    series = square * (1 / 24 - square * (1 / 2880 - square * (1 / 181440 - square / 9676800)))
    return jnp.where(small, near / 2 + series, jnp.log(jnp.expm1(far) / far))


def continuous_bernoulli_log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Log-density of the continuous Bernoulli in nats: x l - log((e^l - 1) / l).

    Loaiza-Ganem & Cunningham 2019: lambda = sigmoid(l), and their log C(lambda) is
    softplus(l) - log((e^l - 1) / l). Exact at every finite logit, as are derivatives.

    Args:
        logits: `[B, ...]`.
        x: `[B, ...]` in [0, 1], of the shape of `logits`.

    Returns:
        `[B]`, nats; positive where the density is above 1.

    Raises:
        ValueError: if the shapes differ, or x, when not traced, leaves [0, 1].
    """
    require_same_shape("logits", logits, x)
    require_unit_interval(x)
    logits, x = as_rows(logits, x)
    x = jnp.where(logits > 0, 1 - x, x)
    logits = _not_positive(logits)
    return jnp.sum(x * logits - log_partition(logits), axis=-1)


def continuous_bernoulli() -> Likelihood:
    """Continuous Bernoulli pixels; the decoder's outputs are logits `[B, ...]`."""
    return Likelihood(continuous_bernoulli_log_prob, _mean, _sample, unit=True)


def _mean(logits: jax.Array) -> jax.Array:
    # In an exponential family the mean is the derivative of the log partition.
    slope = jax.grad(lambda negative: jnp.sum(log_partition(negative)))
    mean = slope(_not_positive(as_float(logits)))
    return jnp.where(logits > 0, 1 - mean, mean)


def _sample(key: jax.Array, logits: jax.Array) -> jax.Array:
    """Inverse of the CDF (e^(x l) - 1) / (e^l - 1) at a uniform u: log1p(u (e^l - 1)) / l."""
    negative = _not_positive(as_float(logits))
    u = jax.random.uniform(key, negative.shape, negative.dtype)
    small = negative > -1e-3
    far = jnp.where(small, -1.0, negative)
    # u + u (1 - u) l/2 to the first order, where the quotient is 0/0.
    near = u + u * (1 - u) * jnp.where(small, negative, 0.0) / 2
    x = jnp.where(small, near, jnp.log1p(u * jnp.expm1(far)) / far)
    x = jnp.clip(x, 0, 1)
    return jnp.where(logits > 0, 1 - x, x)


def _not_positive(logits: jax.Array) -> jax.Array:
    # Not -|l|, whose derivative at 0 is 0: either half's continuation is right there.
    return jnp.where(logits > 0, -logits, logits)
