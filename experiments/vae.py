"""Variational autoencoder, Kingma & Welling 2014 (arXiv 1312.6114).

Command:   python experiments/vae.py
Expected:  see the README's table of experiments
Cost:      under a minute on two cores
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import jax
import optax
from matplotlib.figure import Figure

from aejax import figures, models, objectives
from aejax.data.dataset import ImageDataset
from aejax.latents import standard_normal
from aejax.runs import headlines
from aejax.runs.architecture import ArchitectureConfig
from aejax.runs.commands import main
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ArchitectureConfig):
    """Train a variational autoencoder, or use a trained one (evaluate, encode, ...)."""

    name: ClassVar[str] = "vae"

    batch_size: int = 64
    """Images a step."""
    beta: float = 1.0
    """Weight of the KL in the loss."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        if not self.beta >= 0:
            raise ValueError(f"--beta {self.beta} is negative")
        encoder, decoder = self.nets(image_shape)
        model = models.functions(models.VAE(encoder, decoder, self.latent_dim))
        likelihood = self.p_x()
        return Recipe(
            init=model.init,
            loss_fn=objectives.vae(model.apply, likelihood.log_prob, beta=self.beta),
            optimizer=optax.adam(self.learning_rate),
            encode=lambda params, x: model.encode(params, x).mean,
            decode=lambda params, z: likelihood.mean(model.decode(params, z)),
            sample_prior=lambda key, n: standard_normal((n, self.latent_dim)).sample(key),
            figures=pictures,
            headline=headlines.elbo,
        )


def pictures(run: Run, test: ImageDataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    yield "samples", figures.image_grid(run.sample(jax.random.key(run.config.seed), 100))
    codes = run.encode(test.images[:10_000])
    yield "latent", figures.latent_scatter(codes, test.labels[:10_000], test.label_names)
    if codes.shape[1] == 2:
        yield "manifold", figures.manifold(run.decode)
    if run.history:
        yield "curves", figures.curves(run.history, ("loss", "reconstruction", "kl"))


if __name__ == "__main__":
    main(Config)
