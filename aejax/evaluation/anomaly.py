"""How unlike the training images an image is, and whether that finds what training did not show."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import ImageDataset
from aejax.divergences import gaussian_kl
from aejax.evaluation.probes import pca_codes
from aejax.latents import DiagonalGaussian


def without_class(data: ImageDataset, label: int) -> ImageDataset:
    """The images of all classes but one."""
    kept = data.labels != label
    return ImageDataset(data.images[kept], data.labels[kept], data.label_names, data.name)


def auroc(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """The chance that an anomalous example scores above a normal one; a tie counts half.

    The area under the ROC curve (Fawcett 2006): 1 is perfect, 1/2 chance, below it the wrong way.

    Args:
        scores: `[N]`, high for anomalous.
        anomalous: `[N]`, bool.

    Raises:
        ValueError: if all are anomalous or none is.
    """
    from sklearn.metrics import roc_auc_score

    if anomalous.all() or not anomalous.any():
        raise ValueError(f"{anomalous.sum()} of {len(anomalous)} are anomalous: AUROC needs both")
    return float(roc_auc_score(anomalous, scores))


def negative_elbo(
    key: jax.Array,
    posterior: DiagonalGaussian,
    decode: Callable[[jax.Array], Any],
    log_prob: Callable[[Any, jax.Array], jax.Array],
    x: jax.Array,
    draws: int = 16,
) -> jax.Array:
    """-ELBO of each image: the mean of -log p(x|z) over draws of z, plus the KL.

    Args:
        key: a random key, used once.
        posterior: q(z|x) over `[B, D]`; the prior is N(0, I).
        decode: z `[B, D]` -> the likelihood's parameters.
        log_prob: (the likelihood's parameters, x) -> `[B]`, nats.
        x: `[B, H, W, C]` in [0, 1].
        draws: how many z are drawn for an image.

    Returns:
        `[B]`, nats.
    """

    def reconstruction(key: jax.Array) -> jax.Array:
        return -log_prob(decode(posterior.sample(key)), x)

    errors = jax.lax.map(reconstruction, jax.random.split(key, draws))
    return jnp.mean(errors, axis=0) + gaussian_kl(*posterior)


def pca_error(images: np.ndarray, test_images: np.ndarray, dimensions: int) -> np.ndarray:
    """Squared error, summed over pixels, of test images restored by PCA of the images: `[M]`.

    Both are uint8 `[N, H, W, C]`; the error is of images in [0, 1].
    """
    _, _, restored = pca_codes(images, test_images, dimensions)
    return _squared_distance(test_images, restored)


def distance_to_mean(images: np.ndarray, test_images: np.ndarray) -> np.ndarray:
    """Squared distance of test images from the mean of the images, both uint8: `[M]`."""
    return _squared_distance(test_images, images.mean(axis=0, dtype=np.float64)[None] / 255)


def _squared_distance(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    difference = images / np.float32(255) - others
    return (difference.reshape(len(images), -1) ** 2).sum(axis=-1)
