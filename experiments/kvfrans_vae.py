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
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, objectives
from aejax.data.dataset import Dataset, as_float
from aejax.divergences import gaussian_kl_per_dimension
from aejax.latents import DiagonalGaussian, standard_normal
from aejax.nets.kvfrans import strided_pair
from aejax.runs import headlines
from aejax.runs.commands import main
from aejax.runs.config import Config as CommonConfig
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.streams import seed_stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CommonConfig):
    """Train kvfrans' convolutional VAE, or use a trained one (evaluate, encode, ...)."""

    name: ClassVar[str] = "kvfrans_vae"

    epochs: int = 40
    """Passes over the training images."""
    batch_size: int = 100
    """Images a step."""
    latent_dim: int = 20
    """Dimensions of the latent."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        if self.latent_dim < 1:
            raise ValueError(f"--latent-dim {self.latent_dim} is not positive")
        encoder, decoder = map(self.computed, strided_pair(image_shape))
        vae, likelihood = models.VAE(encoder, decoder, self.latent_dim), likelihoods.bernoulli()
        model = models.functions(vae)

        @jax.jit
        def reconstruct(params: Any, x: jax.Array) -> jax.Array:
            return likelihood.mean(model.decode(params, model.encode(params, x).mean))

        return Recipe(
            init=model.init,
            loss_fn=objectives.vae(model.apply, likelihood.log_prob),
            optimizer=optax.adam(self.learning_rate),
            encode=lambda params, x: model.encode(params, x).mean,
            decode=lambda params, z: likelihood.mean(model.decode(params, z)),
            sample_prior=lambda params, key, n: standard_normal((n, self.latent_dim)).sample(key),
            figures=partial(pictures, model),
            headline=headlines.elbo,
            epoch_figures=partial(epoch_pictures, reconstruct),
            latent_variable_model=models.latent_variable_model(vae, likelihood),
        )


def epoch_pictures(reconstruct: Any, params: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The first 64 test images above their reconstructions."""
    images = test["x"][:64] / np.float32(255)
    restored = np.asarray(reconstruct(params, images))
    yield "reconstructions", figures.reconstructions(images, restored, columns=8)


def pictures(model: models.ModelFunctions, run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    yield "samples", figures.image_grid(run.sample(seed_stream(run.config.seed, "pictures"), 64))
    posterior = jax.jit(lambda x: model.encode(run.state.eval_params, as_float(x)))
    yield "information", information(posterior(test["x"][:10_000]))
    if run.history:
        yield "curves", figures.curves(run.history, ("loss", "reconstruction", "kl"))


def information(posterior: DiagonalGaussian) -> Figure:
    """What each dimension of posteriors over `[N, D]` carries over how noisy it is."""
    kl = np.mean(gaussian_kl_per_dimension(*posterior), axis=0)
    return figures.information(kl, np.exp(np.mean(posterior.log_sigma, axis=0)))


if __name__ == "__main__":
    main(Config)
