"""The convolution that suits the platform, as `flax.linen.Conv` calls it."""

from collections.abc import Callable, Sequence

import jax
from jax import lax

from aejax.nets.cpu_convolution import CPU
from aejax.nets.forms import Form, convolve, xla_convolution
from aejax.nets.gpu_convolution import GPU
from aejax.nets.windows import Grid, spread

FALLBACK = "aejax_fallback"  # the scope of XLA's convolution where there is no form of ours


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: lax.ConvDimensionNumbers | None = None,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """`lax.conv_general_dilated`, channels last, in the form that suits the platform.

    On CPUs and NVIDIA's GPUs a form that is fast there, XLA's own elsewhere; XLA's everywhere for
    groups, for strides of a dilated input, and for empty arrays.
    """
    ones = (1,) * (kernel.ndim - 2)
    strides, inner = tuple(strides), tuple(lhs_dilation or ones)
    grid = _grid(x, kernel, strides, padding, inner, tuple(rhs_dilation or ones))
    strided = spread(strides) and spread(inner)
    empty = 0 in (x.size, kernel.size, *grid.outputs)

    def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        options = {"feature_group_count": feature_group_count, "precision": precision}
        return xla_convolution(x, kernel, grid, **options)

    if feature_group_count > 1 or strided or empty:
        with jax.named_scope(FALLBACK):
            return xla(x, kernel)

    def formed(form: Form) -> Callable[[jax.Array, jax.Array], jax.Array]:
        return lambda x, kernel: convolve(x, kernel, grid, form, precision)

    return lax.platform_dependent(x, kernel, cpu=formed(CPU), cuda=formed(GPU), default=xla)


def _grid(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    padding: str | Sequence[tuple[int, int]],
    inner: tuple[int, ...],
    spacing: tuple[int, ...],
) -> Grid:
    sizes, inputs = kernel.shape[:-2], x.shape[1:-1]
    spread = [(n - 1) * s + 1 if n else 0 for n, s in zip(inputs, inner, strict=True)]
    reach = [(k - 1) * d + 1 for k, d in zip(sizes, spacing, strict=True)]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(spread, reach, strides, padding)
    outputs = tuple(
        max(0, (n + int(lo) + int(hi) - r) // s + 1)
        for n, (lo, hi), r, s in zip(spread, padding, reach, strides, strict=True)
    )
    low = tuple(int(lo) for lo, _ in padding)
    return Grid(sizes, inputs, outputs, strides, inner, spacing, low)
