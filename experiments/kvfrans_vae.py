"""The convolutional VAE of kvfrans' "Variational Autoencoders Explained" (August 2016).

5 x 5 convolutions of stride 2 and a latent of 20. His second head is the standard deviation itself,
of either sign and squared in the loss; here it is log sigma, as everywhere in aejax. The post's
point, that noise limits what a dimension can say, is the figure `information`. Every epoch leaves
the reconstructions of 64 test images in figures/epochs/, as his script does.

Command:   python experiments/kvfrans_vae.py
           python experiments/kvfrans_vae.py --dataset mnist --epochs 10
Expected:  see RESULTS.md; he trains for 10 epochs of 55,000 images and
           publishes no number
Cost:      about a minute on two cores
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import jax
import numpy as np
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.divergences import gaussian_kl_per_dimension
from aejax.latents import DiagonalGaussian
from aejax.models import Model
from aejax.nets.kvfrans import strided_pair
from aejax.runs.families import VaeConfig, curves, reconstructions
from aejax.runs.measurements import posteriors
from aejax.streams import seed_stream
from aejax.types import Batch, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VaeConfig):
    """Train kvfrans' convolutional VAE, or use a trained one (evaluate, encode, ...)."""

    name: ClassVar[str] = "kvfrans_vae"

    epochs: int = 40
    """Passes over the training images."""
    batch_size: int = 100
    """Images a step."""
    latent_dim: int = 20
    """Dimensions of the latent."""

    def model(self, spec: Spec) -> Model:
        """A VAE of kvfrans' convolutions and Bernoulli pixels."""
        pair = strided_pair(spec["x"].shape)
        return models.vae(*pair, self.latent_dim, likelihoods.bernoulli())

    def epoch_figures(
        self, model: Model, variables: Any, test: Dataset
    ) -> Iterator[tuple[str, Figure]]:
        """The first 64 test images above their reconstructions."""
        batch = {"x": test["x"][:64] / np.float32(255)}
        restored = np.asarray(_restored(model, variables, batch))
        yield "reconstructions", figures.reconstructions(batch["x"], restored, columns=8)

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, samples, what each dimension carries, curves."""
        yield "reconstructions", reconstructions(run, test)
        samples = run.sample(seed_stream(self.seed, "pictures"), 64)
        yield "samples", figures.image_grid(samples)
        yield "information", information(posteriors(run, test.first(10_000).arrays))
        yield from curves(run, "loss", "reconstruction", "kl")


@partial(jax.jit, static_argnums=0)
def _restored(model: Model, variables: Any, batch: Batch) -> jax.Array:
    return model.decode(variables, model.posterior(variables, batch).mean)


def information(posterior: DiagonalGaussian) -> Figure:
    """What each dimension of posteriors over `[N, D]` carries over how noisy it is."""
    kl = np.mean(gaussian_kl_per_dimension(posterior.mean, posterior.log_sigma), axis=0)
    return figures.information(kl, np.exp(np.mean(posterior.log_sigma, axis=0)))


if __name__ == "__main__":
    main(Config)
