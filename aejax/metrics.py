"""What to report beside the loss. Per-image metrics are unreduced, `[B, H, W, C]` -> `[B]`.

Images are floats on the scale of [0, 1], or uint8 levels, which are divided by 255.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from aejax.admission import unit_images
from aejax.precision import floats


def _images(x: Any, y: Any) -> tuple[jax.Array, ...]:
    """Both as floats on the scale of [0, 1]."""
    if jnp.ndim(x) != 4 or jnp.shape(x) != jnp.shape(y):
        raise ValueError(
            f"x {jnp.shape(x)} and y {jnp.shape(y)} must both be [B, H, W, C] of one shape"
        )
    return floats(unit_images("x", x), unit_images("y", y))


def squared_error_per_pixel(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared error averaged over height, width and channels: `[B, H, W, C]` x 2 -> `[B]`."""
    x, y = _images(x, y)
    return jnp.mean((x - y) ** 2, axis=(1, 2, 3))


def psnr(x: jax.Array, y: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB of images in [0, 1]: `[B, H, W, C]` x 2 -> `[B]`.

    10 log10(1 / MSE); infinite where the two are equal.

    Raises:
        ValueError: if the shapes differ or are not `[B, H, W, C]`.
    """
    return -10 * jnp.log10(squared_error_per_pixel(x, y))


def _gaussian_blur(x: jax.Array, sigma: float = 1.5, radius: int = 5) -> jax.Array:
    # Separable: a weighted sum of shifted slices along each axis, valid positions only.
    window = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    window = [weight / math.fsum(window) for weight in window]
    for axis in (1, 2):
        width = x.shape[axis] - 2 * radius
        slices = [jax.lax.slice_in_dim(x, i, i + width, axis=axis) for i in range(2 * radius + 1)]
        x = sum(
            (w * part for w, part in zip(window, slices, strict=True)), jnp.zeros_like(slices[0])
        )
    return x


def ssim(x: jax.Array, y: jax.Array) -> jax.Array:
    """Structural similarity of images in [0, 1]: `[B, H, W, C]` x 2 -> `[B]`, at most 1.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity":
    an 11 x 11 Gaussian window of standard deviation 1.5, K1 = 0.01, K2 = 0.03, averaged over the
    positions where the window fits and over channels.

    Raises:
        ValueError: if the shapes differ, are not `[B, H, W, C]`, or a side is under 11 pixels.
    """
    x, y = _images(x, y)
    if min(x.shape[1:3]) < 11:
        raise ValueError(
            f"images of {x.shape[1]}x{x.shape[2]} are smaller than SSIM's 11x11 window"
        )
    mean_x, mean_y = _gaussian_blur(x), _gaussian_blur(y)
    var_x = _gaussian_blur(x * x) - mean_x**2
    var_y = _gaussian_blur(y * y) - mean_y**2
    covariance = _gaussian_blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def bits_per_dim(nats: jax.Array, num_dims: int) -> jax.Array:
    """Nats -log p(x) per example -> bits per dimension, of whatever p(x) is.

    Probabilities of 256 levels a dimension can be compared with each other, and those of binary
    pixels among themselves. A density's are no bits of data, and change with the pixels' unit: on
    [0, 1], of pixels that `aejax.dequantization.dequantize` made, add log2(256) = 8 for an upper
    bound of those of 256 levels.
    """
    return floats(nats)[0] / (num_dims * math.log(2.0))
