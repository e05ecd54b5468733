"""What each output of a convolution sees, channels last."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Ints = tuple[int, ...]

FEW = 4  # channels, below which a convolution is slower than a product


class Grid(NamedTuple):
    """Output i and input j meet in tap t where i strides + t spacing - low = j inner; an axis each.

    `inner` is what XLA calls the left-hand dilation, `spacing` the right-hand one.
    """

    sizes: Ints
    inputs: Ints
    outputs: Ints
    strides: Ints
    inner: Ints
    spacing: Ints
    low: Ints

    def turned(self) -> "Grid":
        """The grid on which the outputs are inputs, for the kernel reversed in space."""
        low = (
            (size - 1) * spacing - low
            for size, spacing, low in zip(self.sizes, self.spacing, self.low, strict=True)
        )
        return Grid(
            self.sizes, self.outputs, self.inputs, self.inner, self.strides, self.spacing, (*low,)
        )

    def padding(self) -> list[tuple[int, int]]:
        """(low, high) of every axis, so that the last output's last tap is the last element."""
        pads = []
        for size, n, m, stride, inner, spacing, low in zip(*self, strict=True):
            end = (m - 1) * stride + (size - 1) * spacing + 1
            spread = (n - 1) * inner + 1 if n else 0
            pads.append((low, end - spread - low))
        return pads


def spread(factors: Ints) -> bool:
    """Whether strides or dilations are at work."""
    return any(factor > 1 for factor in factors)


def few_channels(kernel: jax.Array) -> bool:
    """Whether a convolution has fewer channels, in or out, than it is made for."""
    return min(kernel.shape[-2:]) < FEW


def narrows(channels: int, features: int, grid: Grid) -> bool:
    """Whether windows of the output are smaller than windows of the input."""
    return features < channels and not spread(grid.strides)


def multiplied(
    x: jax.Array, kernel: jax.Array, grid: Grid, precision: lax.PrecisionLike = None
) -> jax.Array:
    """The convolution as one product; `grid.inner` must be ones.

    It is that of the windows of x or, where fewer channels come out, that of x with every tap,
    whose slices are then shifted and summed.
    """
    features = kernel.shape[-1]
    if not narrows(x.shape[-1], features, grid):
        return jnp.matmul(windows(x, grid), kernel.reshape(-1, features), precision=precision)
    taps = kernel.reshape(-1, *kernel.shape[-2:])
    every = jnp.moveaxis(taps, 0, 1).reshape(x.shape[-1], -1)
    products = jnp.matmul(x, every, precision=precision).astype(
        jnp.promote_types(x.dtype, jnp.float32)
    )
    terms = [
        seen[..., tap * features : (tap + 1) * features]
        for tap, seen in enumerate(tap_slices(products, grid))
    ]
    return sum(terms[1:], terms[0]).astype(x.dtype)  # summed in float32, as a product's terms are


def windows(x: jax.Array, grid: Grid) -> jax.Array:
    """What x `[B, ..., C]` has at every output, zero outside: `[B, *outputs, taps * C]`.

    Axis after axis, the sum of its slices, each padded to its place in the window: a vector loop
    on CPU, several times faster than a gather or a concatenation. `grid.inner` must be ones.
    """
    pads = grid.padding()
    for axis in reversed(range(len(pads))):
        size, channels = grid.sizes[axis], x.shape[-1]
        x = _made(pad(x, [pads[axis] if i == axis else (0, 0) for i in range(len(pads))]))
        terms = [
            _placed(_seen(x, grid, axis, tap), tap * channels, (size - 1 - tap) * channels)
            for tap in range(size)
        ]
        x = sum(terms[1:], terms[0])
    return x


def tap_slices(x: jax.Array, grid: Grid) -> Iterator[jax.Array]:
    """What x `[B, ..., C]` has for every output in one tap after the other: `[B, *outputs, C]`."""
    x = _made(pad(x, grid.padding()))
    for taps in itertools.product(*map(range, grid.sizes)):
        seen = x
        for axis, tap in enumerate(taps):
            seen = _seen(seen, grid, axis, tap)
        yield seen


def _made(x: jax.Array) -> jax.Array:
    """Returns x as an array of its own: XLA would compute it anew for every slice."""
    return lax.optimization_barrier(x)


def _seen(x: jax.Array, grid: Grid, axis: int, tap: int) -> jax.Array:
    """What the outputs see of the padded x along one axis in one tap."""
    start, stride = tap * grid.spacing[axis], grid.strides[axis]
    end = start + (grid.outputs[axis] - 1) * stride + 1
    return lax.slice_in_dim(x, start, end, stride, axis + 1)


def _placed(x: jax.Array, before: int, after: int) -> jax.Array:
    """Returns x with zeros as channels before and after its own."""
    config = [(0, 0, 0)] * (x.ndim - 1) + [(before, after, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def pad(x: jax.Array, pads: Sequence[tuple[int, int]], value: float = 0.0) -> jax.Array:
    """`[B, ..., C]` with (low, high) more at each spatial axis; negative amounts crop."""
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)]
    return lax.pad(x, jnp.asarray(value, x.dtype), config)
