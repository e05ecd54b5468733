"""Small parts that the nets share."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.nets.convolution import convolution

Shape = tuple[int, int, int]

# Glorot & Bengio 2010, equation 16, which Keras begins with. Flax's own default, by the inputs
# alone, makes the wide layer from a narrow code to an image begin with too large weights.
GLOROT = nn.initializers.glorot_uniform()


def num_elements(image_shape: Shape) -> int:
    """Pixels times channels of an `(H, W, C)` image."""
    return math.prod(image_shape)


class LearnedScale(nn.Module):
    """A decoder with one learned log standard deviation for all pixels.

    Latents `[B, D]` -> (the decoder's outputs `[B, H, W, C]`, log_sigma, a scalar), as
    `likelihoods.gaussian_learned` takes them.
    """

    decoder: nn.Module

    @nn.compact
    def __call__(self, z: jax.Array) -> tuple[Any, jax.Array]:
        log_sigma = self.param("log_sigma", nn.initializers.zeros, ())
        return self.decoder(z), log_sigma


class Conv(nn.Conv):
    """`flax.linen.Conv`, with the same fields and parameters, computed as suits the platform."""

    conv_general_dilated: Any = convolution


class ConvTranspose(nn.ConvTranspose):
    """`flax.linen.ConvTranspose`, with the same parameters, computed as suits the platform.

    Raises:
        ValueError: for circular padding, which it lacks.
    """

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        if self.padding == "CIRCULAR":
            raise ValueError("padding 'CIRCULAR' is not supported: use flax.linen.ConvTranspose")
        sizes = _as_tuple(self.kernel_size, 1)
        rank = len(sizes)
        batch, in_features = inputs.shape[: -rank - 1], inputs.shape[-1]
        ends = (
            (self.features, in_features) if self.transpose_kernel else (in_features, self.features)
        )
        shape = (*sizes, *ends)
        kernel: Any = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        if self.mask is not None:
            kernel = kernel * self.mask
        bias: Any = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        promoted: Any = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        x, kernel, bias = promoted
        if self.transpose_kernel:
            kernel = jnp.flip(kernel, range(rank)).swapaxes(-1, -2)
        strides, dilation = _as_tuple(self.strides, rank), _as_tuple(self.kernel_dilation, rank)
        pads = _transposed_pads(self.padding, sizes, strides, dilation)
        x = x.reshape(-1, *x.shape[-rank - 1 :])
        y = convolution(x, kernel, (1,) * rank, pads, strides, dilation, precision=self.precision)
        if bias is not None:
            y = y + bias.reshape((1,) * (y.ndim - 1) + (-1,))
        return y.reshape(*batch, *y.shape[1:])


def _as_tuple(value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    if value is None or isinstance(value, int):
        return (1 if value is None else value,) * rank
    return tuple(value)


def _transposed_pads(
    padding: Any, sizes: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    """The padding of the dilated input, as `jax.lax.conv_transpose` defines SAME and VALID."""
    if not isinstance(padding, str):
        pairs = [padding] * len(sizes) if isinstance(padding, int) else padding
        return [(p, p) if isinstance(p, int) else tuple(p) for p in pairs]
    pads = []
    for size, stride, spacing in zip(sizes, strides, dilation, strict=True):
        reach = (size - 1) * spacing + 1
        if padding == "SAME":
            total = reach + stride - 2
            low = reach - 1 if stride > reach - 1 else -(-total // 2)
        else:
            total = reach + stride - 2 + max(reach - stride, 0)
            low = reach - 1
        pads.append((low, total - low))
    return pads
