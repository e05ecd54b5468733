"""What a person's arrays are: looked at once, before a model or a metric takes them.

An array is right as it is, or refused in one line that names it, what it holds and the cure. None
is quietly taken on another scale.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ROUNDING = 1e-5  # how far a resize or an average may take a pixel out of [0, 1]
_FAR = 16.0  # no restored image, however noisy, is as far out of [0, 1]; most 8-bit levels are
_LEVELS = "give 8-bit levels as uint8, x.astype(np.uint8), or floats in [0, 1]"


class Kind(NamedTuple):
    """What a model was trained on, under one name.

    Attributes:
        shape: of one example.
        dtype: at rest: uint8, int32, float32 or bool.
        unit: whether its floats are within [0, 1], as those of uint8 images are.
    """

    shape: tuple[int, ...]
    dtype: Any
    unit: bool = False


def admitted(name: str, values: Any, kind: Kind) -> np.ndarray:
    """Rows `[N, ...]` as a model that was trained on `kind` takes them; N may be 0.

    Raises:
        ValueError: for another shape, type or range, or what is not finite.
    """
    values = as_array(name, values)
    if values.shape[1:] != kind.shape or not values.ndim:
        one = f": give {name}[None] for one example" if values.shape == kind.shape else ""
        shape = ", ".join(map(str, ("N", *kind.shape)))
        raise ValueError(f"{name} {list(values.shape)} is not [{shape}]{one}")
    if jnp.issubdtype(values.dtype, jnp.floating) and kind.dtype in (np.uint8, np.float32):
        return _floats(name, values, unit=kind.unit or kind.dtype == np.uint8)
    if values.dtype == np.bool_ and kind.dtype == np.uint8:
        return values.astype(np.float32)
    if values.dtype == kind.dtype:
        return values
    if kind.dtype == np.int32 and np.issubdtype(values.dtype, np.integer):
        return as_int32(name, values)
    wanted = {np.dtype(np.uint8): _LEVELS, np.dtype(np.float32): "give floats on their scale"}
    cure = wanted.get(np.dtype(kind.dtype), f"give {np.dtype(kind.dtype)}")
    held = f"{name} is of {values.dtype}{_span(values)}"
    raise ValueError(f"{held}, and the model was trained on {np.dtype(kind.dtype)}: {cure}")


def unit_images(name: str, images: Any) -> Any:
    """Images as floats on the scale of [0, 1], where uint8 levels are divided by 255.

    NumPy's arrays stay NumPy's. Of traced arrays the type alone is looked at.

    Raises:
        ValueError: for other integers, what is not finite, or is far out of [0, 1].
    """
    images = images if isinstance(images, jax.Array) else as_array(name, images)
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    if images.dtype == np.bool_:
        return images.astype(np.float32)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"{name} is of {images.dtype}{_span(images)}: {_LEVELS}")
    if images.size and not isinstance(images, jax.core.Tracer):
        low, high = finite_span(name, np.asarray(images))
        if max(-low, high) > _FAR:
            raise ValueError(f"{name} spans [{low:g}, {high:g}], far out of [0, 1]: {_LEVELS}")
    return images


def finite_span(name: str, values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest of floats; a `ValueError` if one is not finite."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        place = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        raise ValueError(f"{name} holds what is not finite, in row {place}: mend or remove it")
    return low, high


def require_no_levels(name: str, values: np.ndarray) -> None:
    """Raises a `ValueError` for floats that are not finite, or 8-bit images that became floats.

    The latter are `[N, H, W, C]` with up to four channels, all whole numbers from 0 to over 1.
    """
    if not values.size:
        return
    low, high = finite_span(name, values)
    picture = values.ndim == 4 and values.shape[-1] <= 4
    if picture and low >= 0 and 1 < high <= 255 and np.array_equal(values, np.round(values)):
        raise ValueError(
            f"{name} holds whole numbers from {low:g} to {high:g} as floats, and float images are "
            f"taken as they are: {_LEVELS}; of counts, integers"
        )


def as_array(name: str, values: Any) -> np.ndarray:
    """A NumPy array of numbers; a `ValueError` for anything else."""
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} has rows of several lengths: give one shape to all") from None
    if not (array.dtype.kind in "biu" or jnp.issubdtype(array.dtype, jnp.floating)):
        given = f"of {array.dtype}" if array.dtype != object else f"a {type(values).__name__}"
        raise ValueError(f"{name} is {given}: give integers, floats or bools, [N, ...]")
    return array


def as_int32(name: str, values: np.ndarray) -> np.ndarray:
    """Integers in 32 bits; a `ValueError` if they do not fit."""
    limits = np.iinfo(np.int32)
    if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
        raise ValueError(f"{name} holds {values.max()}, beyond int32: give smaller integers")
    return values.astype(np.int32)


def _floats(name: str, values: np.ndarray, *, unit: bool) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    if values.size:
        low, high = finite_span(name, values)
        if unit and not (low >= -ROUNDING and high <= 1 + ROUNDING):
            raise ValueError(
                f"{name} spans [{low:g}, {high:g}], and the model was trained on [0, 1]: {_LEVELS}"
            )
    return values


def _span(values: Any) -> str:
    if isinstance(values, jax.core.Tracer) or not values.size:
        return ""
    return f" and spans [{values.min()}, {values.max()}]"
