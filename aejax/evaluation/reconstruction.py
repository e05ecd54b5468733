"""How close restored images are to the clean ones."""

import jax
import jax.numpy as jnp
import numpy as np

from aejax.admission import unit_images
from aejax.metrics import psnr, ssim

_EPSILON = 1e-7  # Keras's: a pixel that is surely 0 or 1, and wrong, costs 16 nats and not infinity

BETTER = {"bce_per_pixel": min, "psnr": max, "ssim": max}  # which of two values of a metric is


def bce_per_pixel(restored: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of images in [0, 1], nats a pixel: `[N, H, W, C]` x 2 -> `[N]`.

    Restored pixels are clipped to [1e-7, 1 - 1e-7] first, as `binary_crossentropy` of Keras does.

    Raises:
        ValueError: if the shapes differ.
    """
    if restored.shape != clean.shape:
        raise ValueError(f"restored {restored.shape} and clean {clean.shape} differ in shape")
    restored, clean = unit_images("restored", restored), unit_images("clean", clean)
    p = np.clip(np.asarray(restored, np.float64), _EPSILON, 1 - _EPSILON)
    losses = -(clean * np.log(p) + (1 - clean) * np.log1p(-p))
    return losses.reshape(len(clean), -1).mean(axis=-1)


def quality(restored: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """Means over images `[N, H, W, C]` in [0, 1]: BCE (nats a pixel), PSNR (dB) and SSIM.

    The PSNR is the mean of the images' own; infinite if an image is restored exactly.

    Raises:
        ValueError: if the shapes differ or a side is under SSIM's 11 pixels.
    """
    restored, clean = unit_images("restored", restored), unit_images("clean", clean)
    bce = bce_per_pixel(restored, clean).mean()
    x, y = np.asarray(restored, np.float32), np.asarray(clean, np.float32)
    decibels, similarity = _psnr_and_ssim(x, y)
    return {"bce_per_pixel": float(bce), "psnr": float(decibels), "ssim": float(similarity)}


@jax.jit
def _psnr_and_ssim(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.mean(psnr(x, y)), jnp.mean(ssim(x, y))


def check_window(image_shape: tuple[int, ...]) -> None:
    """Raises a `ValueError` for images `(H, W, C)` whose SSIM, and so `quality`, is not defined."""
    height, width, _ = image_shape
    if min(height, width) < 11:
        raise ValueError(
            f"images of {height}x{width} are smaller than SSIM's 11x11 window: "
            "choose a --dataset of larger ones"
        )
