"""The type that formulas are computed in: float32, or float64 where it is given."""

from typing import Any

import jax
import jax.numpy as jnp


def floats(*arrays: Any) -> tuple[jax.Array, ...]:
    """The arrays in one type: float64 if one of them is, else float32.

    A sum over an image's pixels or over hundreds of dimensions in bfloat16 would be right to a few
    nats only. Python's numbers take the arrays' type.
    """
    # Not jnp.result_type of all: under strict type promotion arrays of several types have none.
    types = [jax.dtypes.canonicalize_dtype(a.dtype) for a in arrays if hasattr(a, "dtype")]
    double = any(of == jnp.float64 for of in types)
    dtype = jnp.float64 if double else jnp.float32
    return tuple(jnp.asarray(a, dtype) for a in arrays)
