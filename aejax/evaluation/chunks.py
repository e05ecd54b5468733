"""How many images and samples are worked on at a time, by the memory they may take."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import jaxprs_in_params


class ChunkSizes(NamedTuple):
    """How many images, and how many samples of each, are worked on at a time."""

    images: int
    samples: int


def chunk_sizes(rows: int, images: int, samples: int) -> ChunkSizes:
    """The largest chunks of at most `rows` images x samples, samples first.

    An image is read once for all of its samples of a chunk, and the chunks of its samples are as
    even as they come, so that little of the last one is padding.

    Raises:
        ValueError: if there are no rows, images or samples.
    """
    if min(rows, images, samples) < 1:
        raise ValueError(f"rows {rows}, images {images}, samples {samples}: each must be positive")
    at_a_time = _ceil(samples, _ceil(samples, rows))
    return ChunkSizes(min(images, rows // at_a_time), at_a_time)


def rows_within(memory: float, row_bytes: int) -> int:
    """How many rows of `row_bytes` fit in `memory` bytes.

    Raises:
        ValueError: if not even one does.
    """
    if memory < row_bytes:
        raise ValueError(f"memory {memory} holds no row of {row_bytes} bytes: give at least that")
    return int(memory // row_bytes)


def row_bytes(function: Callable[[int], Any]) -> int:
    """Bytes that one more row adds to everything that `function` of the number of rows computes.

    All values that its trace names, as if none were fused or freed: an upper bound, several times
    what the compiled program holds. What does not grow with the rows, such as the parameters, does
    not count, and the body of a loop counts once.
    """
    one, two = (_bytes(jax.make_jaxpr(lambda n=n: function(n))().jaxpr) for n in (1, 2))
    return max(1, two - one)


def _bytes(jaxpr: Any) -> int:
    named = sum(_size(v.aval) for equation in jaxpr.eqns for v in equation.outvars)
    inner = (_bytes(sub) for e in jaxpr.eqns for sub in jaxprs_in_params(e.params))
    return named + sum(inner)


def _size(aval: Any) -> int:
    return aval.size * aval.dtype.itemsize


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
