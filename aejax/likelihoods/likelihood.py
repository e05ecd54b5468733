"""What the likelihoods share: their functions, and the checks of shapes and of the support."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.admission import ROUNDING
from aejax.axes import require_examples
from aejax.precision import floats

LEVELS = 256


class Likelihood(NamedTuple):
    """What a model needs of p(x|z), as functions of the decoder's outputs.

    Attributes:
        log_prob: (outputs, x `[B, ..., C]`) -> `[B]`, nats.
        mean: outputs -> E[x|z], `[B, ..., C]`.
        sample: (key, outputs) -> x ~ p(x|z), `[B, ..., C]`.
        channels: C -> the channels that the decoder must emit for data of C channels.
        normalised: whether log_prob is that of a density, or of probabilities.
        binary: whether it is so over 0 and 1 alone.
        levels: whether it is so over the 256 levels of an 8-bit channel.
        unit: whether x is within [0, 1].
    """

    log_prob: Callable[[Any, jax.Array], jax.Array]
    mean: Callable[[Any], jax.Array]
    sample: Callable[[jax.Array, Any], jax.Array]
    channels: Callable[[int], int] = lambda channels: channels
    normalised: bool = True
    binary: bool = False
    levels: bool = False
    unit: bool = False


def as_rows(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Each `[B, ...]` as `[B, N]`, all of one type: see `precision.floats`.

    Raises:
        ValueError: if the last, x, has no axis beside the examples'.
    """
    require_examples("x", arrays[-1])
    # Two axes, before the elementwise work: XLA's CPU loops over [B, 28, 28, 1] are not vectorised
    # and made the whole training step 1.4 times slower.
    return tuple(a.reshape(len(a), math.prod(a.shape[1:])) for a in floats(*arrays))


def require_same_shape(name: str, outputs: jax.Array, x: jax.Array) -> None:
    """Raises a `ValueError` unless `outputs`, called `name`, and `x` have one shape."""
    if jnp.shape(outputs) != jnp.shape(x):
        raise ValueError(
            f"{name} {jnp.shape(outputs)} and x {jnp.shape(x)} differ in shape: "
            "reshape one to the other"
        )


def require_channels(outputs: jax.Array, x: jax.Array, per_channel: int) -> None:
    """Raises a `ValueError` unless `x` is `[B, ..., C]`, `outputs` `[B, ..., per_channel C]`."""
    shape = jnp.shape(x)
    if len(shape) < 2:
        raise ValueError(f"x {shape} is not [B, ..., C]: give the channels an axis of their own")
    expected = (*shape[:-1], per_channel * shape[-1])
    if jnp.shape(outputs) != expected:
        raise ValueError(
            f"outputs {jnp.shape(outputs)} do not fit x {shape}: expected {expected}, "
            f"{per_channel} outputs a channel of x"
        )


def location_scale_rows(
    mean: jax.Array, log_sigma: jax.Array | float, x: jax.Array
) -> tuple[jax.Array, jax.Array | float, jax.Array]:
    """The arguments by `as_rows`, `log_sigma` as it is if a scalar.

    Raises:
        ValueError: if `mean` and `x` differ in shape, or `log_sigma` is neither a scalar nor of
            their shape.
    """
    require_same_shape("mean", mean, x)
    if jnp.ndim(log_sigma) == 0:
        mean, x, log_sigma = *as_rows(mean, x), floats(mean, x, log_sigma)[-1]
        return mean, log_sigma, x
    log_sigma = jnp.asarray(log_sigma)
    require_same_shape("log_sigma", log_sigma, x)
    mean, log_sigma, x = as_rows(mean, log_sigma, x)
    return mean, log_sigma, x


def log_of_sigma(sigma: float | jax.Array) -> float | jax.Array:
    """The log of a fixed standard deviation.

    Raises:
        ValueError: if it is not positive; a traced one is not looked at.
    """
    if isinstance(sigma, jax.core.Tracer):
        return jnp.log(sigma)
    if not sigma > 0:
        raise ValueError(f"sigma {sigma} is not positive: give the pixels' standard deviation")
    return math.log(sigma)


def require_unit_interval(x: jax.Array) -> None:
    """Raises a `ValueError` if `x` leaves [0, 1], or is traced and of integers, which may."""
    if isinstance(x, jax.core.Tracer):
        if jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(
                f"x is of {x.dtype}, and must lie in [0, 1]: divide 8-bit images by 255, or give "
                "zeros and ones as floats or bools"
            )
        return
    if np.size(x) == 0:
        return
    values = np.asarray(x, np.float64)
    low, high = values.min(), values.max()
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # `not` refuses NaN too
        raise ValueError(
            f"x spans [{low:g}, {high:g}] and must lie in [0, 1]: divide 8-bit images by 255, "
            "rescale or clip"
        )


def require_levels(x: jax.Array) -> None:
    """Raises a `ValueError` if `x` is at hand, not traced, and is not multiples of 1/255 in [0, 1].

    As near as its type can tell: neighbouring levels are different numbers in bfloat16 too.
    """
    require_unit_interval(x)
    if isinstance(x, jax.core.Tracer):
        return
    scaled = 255 * np.asarray(x, np.float64)
    spacing = jnp.finfo(x.dtype).eps if jnp.issubdtype(x.dtype, jnp.floating) else 0
    off = np.abs(scaled - np.round(scaled)) > 1e-3 + 255 * float(spacing) / 4
    if off.any():
        raise ValueError(
            f"x holds {scaled[off][0] / 255:g}, no multiple of 1/255: give 8-bit levels divided by "
            "255, or round with jnp.round(255 * x) / 255"
        )


def as_float(outputs: jax.Array) -> jax.Array:
    """In float32, or float64 where given."""
    return floats(outputs)[0]


def level_of(x: jax.Array) -> jax.Array:
    """The 8-bit level, 0 to 255, of each pixel in [0, 1], as a floating-point number."""
    return jnp.round((LEVELS - 1) * x)
