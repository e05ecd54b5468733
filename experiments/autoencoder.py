"""Autoencoder: a deterministic code, dense or convolutional (Hinton & Salakhutdinov 2006).

Command:   python experiments/autoencoder.py
Expected:  see RESULTS.md
Cost:      about half a minute on two cores
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import optax
from matplotlib.figure import Figure

from aejax import figures, models, objectives
from aejax.data.dataset import Dataset
from aejax.runs import headlines
from aejax.runs.architecture import ArchitectureConfig
from aejax.runs.commands import main
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ArchitectureConfig):
    """Train an autoencoder, or use a trained one (evaluate, encode, reconstruct)."""

    name: ClassVar[str] = "autoencoder"

    latent_dim: int = 32
    """Dimensions of the code."""
    hidden: tuple[int, ...] = (512, 128)
    """Widths of the dense layers, from the image inwards (--net mlp)."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        encoder, decoder = self.nets(image_shape)
        model = models.functions(models.Autoencoder(encoder, decoder, self.latent_dim))
        likelihood = self.p_x()
        return Recipe(
            init=model.init,
            loss_fn=objectives.autoencoder(model.apply, likelihood.log_prob),
            optimizer=optax.adam(self.learning_rate),
            encode=model.encode,
            decode=lambda params, z: likelihood.mean(model.decode(params, z)),
            sample_prior=None,
            figures=pictures,
            headline=headlines.reconstruction,
        )


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    codes = run.encode(test["x"][:10_000])
    yield "latent", figures.latent_scatter(codes, test.labels[:10_000], test.label_names)
    if run.history:
        yield "curves", figures.curves(run.history, ("reconstruction",))


if __name__ == "__main__":
    main(Config)
