"""A convolution in a form of one's own: what computes it, and what computes its gradients.

Automatic differentiation writes a convolution's gradients in ways that compilers compute slowly: a
CPU's in a loop, a GPU's of a transposed convolution. A form says how to compute them instead, and
both modes of differentiation follow it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from aejax.nets.windows import Grid

Compute = Callable[[jax.Array, jax.Array, Grid, lax.PrecisionLike], jax.Array]


class Form(NamedTuple):
    """How to compute a convolution.

    Attributes:
        convolve: x `[B, *inputs, C]`, a kernel `[*sizes, C, O]`, their grid and the products'
            precision -> `[B, *outputs, O]`. The input's gradient is one too, on the turned grid.
        kernel_gradient: x, the output's cotangent, the grid and the precision -> the kernel's.
    """

    convolve: Compute
    kernel_gradient: Compute


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def convolve(
    x: jax.Array, kernel: jax.Array, grid: Grid, form: Form, precision: lax.PrecisionLike = None
) -> jax.Array:
    """The convolution of x `[B, ..., C]` with `[..., C, O]` on a grid, `[B, *grid.outputs, O]`.

    `strides` or `inner` of the grid must be ones. Reverse mode is what is made fast: in forward
    mode, the tangents are whatever the transposes of the gradients are.
    """
    return form.convolve(x, kernel, grid, precision)


@partial(convolve.defjvp, symbolic_zeros=True)
def _jvp(
    grid: Grid,
    form: Form,
    precision: lax.PrecisionLike,
    primals: tuple[Any, Any],
    tangents: tuple[Any, Any],
) -> tuple[Any, Any]:
    """The tangent is written as the transpose of the gradients, which it becomes in reverse mode.

    `jax.checkpoint` makes reverse mode keep x and the kernel, not their slices.
    """
    y = convolve(*primals, grid, form, precision)

    def of_x(x: jax.Array, kernel: jax.Array) -> Callable[[jax.Array], jax.Array]:
        return lambda dy: form.convolve(dy, turn(kernel), grid.turned(), precision)

    def of_kernel(x: jax.Array, kernel: jax.Array) -> Callable[[jax.Array], jax.Array]:
        return lambda dy: form.kernel_gradient(x, dy, grid, precision)

    moved = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, SymbolicZero)]

    @jax.checkpoint
    def tangent(primals: tuple[Any, Any], tangents: list[Any]) -> jax.Array:
        gradients = [(of_x, of_kernel)[i](*primals) for i in moved]
        terms = [
            jax.linear_transpose(gradient, y)(tangent)[0]
            for gradient, tangent in zip(gradients, tangents, strict=True)
        ]
        return sum(terms[1:], terms[0])

    return y, tangent(primals, [tangents[i] for i in moved])


def xla_convolution(x: jax.Array, kernel: jax.Array, grid: Grid, **options: Any) -> jax.Array:
    """XLA's convolution, channels last."""
    spatial = "DHW"[3 - len(grid.sizes) :]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    pads = grid.padding()
    return lax.conv_general_dilated(
        x, kernel, grid.strides, pads, grid.inner, grid.spacing, layout, **options
    )


def turned(kernel: jax.Array) -> jax.Array:
    """The kernel reversed in space with its channels swapped, `[..., C, O] -> [..., O, C]`."""
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)


def turn(kernel: jax.Array) -> jax.Array:
    """`turned` as an array of its own, which XLA does not fold into a convolution's layout."""
    return lax.optimization_barrier(turned(kernel))
