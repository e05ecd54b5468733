"""How unlike the training images an image is, and whether that finds what training did not show.

Images are uint8, or floats on the scale of [0, 1].
"""

import jax
import jax.numpy as jnp
import numpy as np

from aejax.admission import unit_images
from aejax.axes import per_example
from aejax.data.dataset import Dataset
from aejax.evaluation.probes import pca_codes
from aejax.models.model import Bound
from aejax.nets.binding import rebound
from aejax.types import Batch


def without_class(data: Dataset, label: int) -> Dataset:
    """The images of all classes but one."""
    return data.rows(data.labels != label)


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


def negative_elbo(key: jax.Array, bound: Bound, batch: Batch, draws: int = 16) -> jax.Array:
    """-ELBO of each example: the mean of -log p(x|z) over draws of z, plus the KL.

    Args:
        key: a random key, used once.
        bound: a variational autoencoder whose KL is closed.
        batch: of B examples.
        draws: how many z are drawn for an example.

    Returns:
        `[B]`, nats.
    """
    posterior = bound.posterior(batch)

    def reconstruction(key: jax.Array) -> jax.Array:
        return -rebound(bound).log_likelihood(batch, posterior.sample(key))

    errors = jax.lax.map(reconstruction, jax.random.split(key, draws))
    return jnp.mean(errors, axis=0) + per_example(posterior.kl(bound.prior(batch)))


def mean_image(images: np.ndarray, test_images: np.ndarray) -> np.ndarray:
    """The mean of the images as what restores any: `[N, H, W, C]` -> `[M, H, W, C]`."""
    mean = unit_images("images", images).mean(axis=0, dtype=np.float64)[None]
    return np.broadcast_to(mean, test_images.shape)


def pca_restored(images: np.ndarray, test_images: np.ndarray, dimensions: int) -> np.ndarray:
    """Test images restored by PCA of the images: `[M, H, W, C]`, not clipped."""
    return pca_codes(images, test_images, dimensions)[2]


def nearest_image(images: np.ndarray, test_images: np.ndarray) -> np.ndarray:
    """For each test image the nearest of the images: `[M, H, W, C]` in [0, 1].

    Its squared error is the squared distance to the nearest neighbour, a score of its own.
    """
    from sklearn.neighbors import NearestNeighbors

    given = unit_images("images", images), unit_images("test_images", test_images)
    x, y = (a.reshape(len(a), -1) for a in given)
    places = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(x).kneighbors(y)[1][:, 0]
    return given[0][places]


def squared_error(images: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """The squared error, summed over pixels, of restored images: `[N]`."""
    difference = unit_images("images", images) - unit_images("restored", restored)
    return (difference.reshape(len(images), -1) ** 2).sum(axis=-1)


def cross_entropy(images: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """-log p(x) of Bernoulli pixels with the restored images as their means: `[N]`, nats.

    The means are clipped to 0.001 and 0.999, whoever restored: PCA leaves [0, 1], and the mean and
    another image hold zeros, each of which would cost infinitely much. At grey pixels x the least
    that it can be is the entropy of x, so images of many grey pixels score high however restored.
    """
    x = unit_images("images", images)
    p = np.clip(unit_images("restored", restored), 1e-3, 1 - 1e-3)
    nats = -(x * np.log(p) + (1 - x) * np.log1p(-p))
    return nats.reshape(len(images), -1).sum(axis=-1)
