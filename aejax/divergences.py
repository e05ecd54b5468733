"""Divergences between distributions over the latent: KL in nats, and MMD between samples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from aejax.axes import require_events
from aejax.precision import floats

Kernel = Callable[[jax.Array], jax.Array]


def gaussian_kl(mean: jax.Array, log_sigma: jax.Array) -> jax.Array:
    """KL(N(mean, exp(log_sigma)^2) || N(0, I)) in nats, summed over the last axis.

    Kingma & Welling 2014 (arXiv 1312.6114), appendix B. With s = log sigma, each dimension gives
    1/2 (sigma^2 + mean^2 - 1) - s = 1/2 (expm1(2 s) + mean^2) - s; expm1 keeps the small KL of a
    nearly collapsed posterior, which the subtraction of two numbers near 1 would round away.

    Args:
        mean: `[B, D]`, or of any rank, `[..., D]` -> `[...]`: see `aejax.axes`.
        log_sigma: `[B, D]`, the log of the standard deviation (not of the variance).

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes differ, or are those of scalars.
    """
    if jnp.shape(mean) != jnp.shape(log_sigma):
        raise ValueError(
            f"mean {jnp.shape(mean)} and log_sigma {jnp.shape(log_sigma)} differ in shape: "
            "give each latent dimension its own log_sigma"
        )
    require_events("mean", mean)
    return jnp.sum(gaussian_kl_per_dimension(mean, log_sigma), axis=-1)


def gaussian_kl_per_dimension(mean: jax.Array, log_sigma: jax.Array) -> jax.Array:
    """The summands of `gaussian_kl`: `[..., D]`, `[..., D]` -> `[..., D]`, nats."""
    mean, log_sigma = floats(mean, log_sigma)
    return 0.5 * (jnp.expm1(2 * log_sigma) + mean**2) - log_sigma


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
    mean, log_sigma, prior_mean, prior_log_sigma = floats(
        mean, log_sigma, prior_mean, prior_log_sigma
    )
    return gaussian_kl((mean - prior_mean) * jnp.exp(-prior_log_sigma), log_sigma - prior_log_sigma)


def rbf(bandwidth: float | jax.Array) -> Kernel:
    """The Gaussian kernel exp(-d^2 / (2 bandwidth^2)) of the squared distance d^2."""
    return lambda squared: jnp.exp(-squared / (2 * bandwidth**2))


def inverse_multiquadric(scale: float | jax.Array) -> Kernel:
    """The kernel scale / (scale + d^2) of the squared distance d^2.

    Tolstikhin et al. 2018 (arXiv 1711.01558), section 4: heavier tails than the Gaussian's, so that
    codes far off still count; their scale is 2 D sigma^2 for a prior N(0, sigma^2 I) over D
    dimensions.
    """
    return lambda squared: scale / (scale + squared)


def squared_mmd(
    x: jax.Array, y: jax.Array, kernel: Kernel, mask: jax.Array | None = None
) -> jax.Array:
    """The squared maximum mean discrepancy between two samples, estimated without bias.

    Gretton et al. 2012 (JMLR 13), equation 3: the mean of k over pairs of different rows of x, and
    of y, less twice that over pairs of a row of x and a row of y. It is zero on average where both
    samples are of one distribution, and so often negative.

    Args:
        x: `[N, D]`, independent draws.
        y: `[M, D]`, independent draws of the other distribution.
        kernel: a function of squared distances, `rbf(bandwidth)` or `inverse_multiquadric(scale)`.
        mask: `[N]`, False for rows of x that do not count.

    Returns:
        a scalar, in units of the kernel (1 for equal points).

    Raises:
        ValueError: if a sample has fewer than two rows or their dimensions differ.
    """
    _check_samples(x, y)
    x, y = floats(x, y)
    counted = jnp.ones(len(x), bool) if mask is None else mask
    all_of_y = jnp.ones(len(y), bool)
    # A row that does not count may hold a NaN, and its gradient would be one.
    x = jnp.where(counted[:, None], x, 0)
    rows = jnp.maximum(jnp.sum(counted.astype(x.dtype)), 1)
    within_x = _mean_of_pairs(kernel(_squared_distances(x, x)), counted)
    within_y = _mean_of_pairs(kernel(_squared_distances(y, y)), all_of_y)
    between = jnp.where(counted[:, None], kernel(_squared_distances(x, y)), 0)
    return within_x + within_y - 2 * jnp.sum(between) / (len(y) * rows)


def median_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """The median distance between two rows of the samples `[N, D]` and `[M, D]` put together.

    The usual bandwidth of `rbf` (Gretton et al. 2012, section 8).

    Raises:
        ValueError: if a sample has fewer than two rows or their dimensions differ.
    """
    _check_samples(x, y)
    pooled = jnp.concatenate(floats(x, y))
    first, second = jnp.triu_indices(len(pooled), 1)
    return jnp.median(jnp.sqrt(_squared_distances(pooled, pooled)[first, second]))


def _check_samples(x: jax.Array, y: jax.Array) -> None:
    shapes = jnp.shape(x), jnp.shape(y)
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"x {shapes[0]} and y {shapes[1]} are not [N, D] and [M, D]")
    if min(shapes[0][0], shapes[1][0]) < 2:
        raise ValueError(
            f"x has {shapes[0][0]} rows and y {shapes[1][0]}: give at least two of each, "
            "the estimate is over pairs"
        )


def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """`[N, D]`, `[M, D]` -> `[N, M]`."""
    # |x|^2 + |y|^2 - 2 x y needs no [N, M, D]; about a common centre it loses few digits.
    centre = jax.lax.stop_gradient(jnp.mean(y, axis=0, keepdims=True))
    x, y = x - centre, y - centre
    squares = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=1)[None, :]
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(squares - 2 * products, 0)


def _mean_of_pairs(values: jax.Array, counted: jax.Array) -> jax.Array:
    """The mean of `[N, N]` off its diagonal, over rows and columns that count, `[N]`."""
    pairs = counted[:, None] & counted[None, :] & ~jnp.eye(len(values), dtype=bool)
    count = jnp.maximum(jnp.sum(pairs.astype(values.dtype)), 1)
    return jnp.sum(jnp.where(pairs, values, 0)) / count
