"""Convolutions for NVIDIA GPUs: cuDNN's, each of the three kinds where it belongs.

- A transposed convolution is the input's gradient of a strided one, and is written as such. XLA
  would convolve an input filled up with zeros, and for the kernel's gradient take the whole image
  for a kernel: on an H200 that one product was two thirds of a small autoencoder's step.
- With fewer than four channels in or out and no strides, one product for all taps is 2.7 to 3.8
  times as fast as cuDNN, whose kernels are made for many channels.
"""

import jax
from jax import lax

from aejax.nets.forms import Form, turn, turned, xla_convolution
from aejax.nets.windows import Grid, few_channels, multiplied, spread


def _convolve(
    x: jax.Array, kernel: jax.Array, grid: Grid, precision: lax.PrecisionLike
) -> jax.Array:
    if spread(grid.inner):
        return _of_strided(x, kernel, grid, precision)
    if few_channels(kernel) and not spread(grid.strides):
        return multiplied(x, kernel, grid, precision)
    return xla_convolution(x, kernel, grid, precision=precision)


def _of_strided(
    x: jax.Array, kernel: jax.Array, grid: Grid, precision: lax.PrecisionLike
) -> jax.Array:
    """The transposed convolution, by the strided one whose input's gradient it is."""
    back = turn(kernel)
    outputs = jax.ShapeDtypeStruct((len(x), *grid.outputs, kernel.shape[-1]), x.dtype)

    def strided(y: jax.Array) -> jax.Array:
        return xla_convolution(y, back, grid.turned(), precision=precision)

    return jax.linear_transpose(strided, outputs)(x)[0]


def _kernel_gradient(
    x: jax.Array, dy: jax.Array, grid: Grid, precision: lax.PrecisionLike
) -> jax.Array:
    if spread(grid.inner):
        return turned(_kernel_gradient(dy, x, grid.turned(), precision))
    kernel = jax.ShapeDtypeStruct((*grid.sizes, x.shape[-1], dy.shape[-1]), x.dtype)

    def of_kernel(kernel: jax.Array) -> jax.Array:
        return _convolve(x, kernel, grid, precision)

    return jax.linear_transpose(of_kernel, kernel)(dy)[0]


GPU = Form(_convolve, _kernel_gradient)
