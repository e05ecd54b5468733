"""Denoising autoencoder: from a damaged image back to the clean one (Vincent et al. 2010).

The convolutional net of the Keras blog (Chollet 2016) with 4,385 parameters, trained from scratch;
the noise is drawn afresh at every step.

Command:   python experiments/denoising.py
Expected:  see the README's table of experiments
Cost:      about a minute on two cores
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar, Literal

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import corruptions, figures, likelihoods, models, nets, objectives
from aejax.data.dataset import ImageDataset
from aejax.evaluation.reconstruction import check_window, filtered, quality
from aejax.runs.commands import main
from aejax.runs.config import Config as RunConfig
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run

NOISE_MEANS = {"lesson": 0.5}  # what a simple restoration subtracts; 0 for the other kinds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train a denoising autoencoder, or use a trained one (evaluate, encode, reconstruct)."""

    name: ClassVar[str] = "denoising"

    epochs: int = 25
    """Passes over the training images."""
    noise: Literal["lesson", "gaussian", "salt_and_pepper", "masking"] = "lesson"
    """lesson: Gaussian of mean and sd 0.5; gaussian: of mean 0, sd 0.5; both clipped to [0, 1].
    salt_and_pepper: 30% of the pixels become 0 or 1; masking: half of them 0."""

    def corrupt(self) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """The noise: (key, images `[B, H, W, C]`) -> damaged images.

        Raises:
            ValueError: if there is no such noise.
        """
        noises: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
            "lesson": partial(corruptions.gaussian_noise, mean=0.5, sigma=0.5),
            "gaussian": corruptions.gaussian_noise,
            "salt_and_pepper": corruptions.salt_and_pepper,
            "masking": corruptions.masking,
        }
        if self.noise not in noises:
            raise ValueError(f"--noise {self.noise} is unknown: give one of {', '.join(noises)}")
        return noises[self.noise]

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        check_window(image_shape)
        encoder, decoder = map(self.computed, nets.pooled_pair(image_shape, dense=False))
        model = models.functions(models.Autoencoder(encoder, decoder))
        likelihood = likelihoods.bernoulli()
        return Recipe(
            init=model.init,
            loss_fn=objectives.autoencoder(
                model.apply, likelihood.log_prob, corrupt=self.corrupt()
            ),
            optimizer=optax.adam(self.learning_rate),
            encode=model.encode,
            decode=lambda params, z: likelihood.mean(model.decode(params, z)),
            sample_prior=None,
            figures=pictures,
            headline=lambda m: (
                f"clean from noisy {m['reconstruction']:.2f} nats "
                f"({m['reconstruction_per_pixel']:.5f} a pixel)"
            ),
            results=results,
        )


def damaged(config: Config, images: np.ndarray) -> np.ndarray:
    """The fixed noisy test set of the run's seed: `[N, H, W, C]` in [0, 1] -> the same, damaged."""
    key = jax.random.key(config.seed)
    return np.asarray(jax.jit(config.corrupt())(key, np.asarray(images, np.float32)))


def restorations(run: Run, noisy: np.ndarray) -> dict[str, np.ndarray]:
    """Noisy images `[N, H, W, C]` and what the filters and the model make of them, by name."""
    assert isinstance(run.config, Config)
    simple = filtered(noisy, NOISE_MEANS.get(run.config.noise, 0.0))
    return simple | {"model": run.reconstruct(noisy)}


def results(run: Run, train: ImageDataset, test: ImageDataset) -> dict[str, float]:
    """BCE a pixel, PSNR and SSIM on the noisy test set, of the model and of the filters."""
    assert isinstance(run.config, Config)
    clean = np.asarray(test.images, np.float32) / 255
    restored = restorations(run, damaged(run.config, clean))
    return {
        f"{name}_{metric}": value
        for name, images in restored.items()
        for metric, value in quality(images, clean).items()
    }


def pictures(run: Run, test: ImageDataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    assert isinstance(run.config, Config)
    clean = figures.first_of_each_class(test, 10)
    rows = restorations(run, damaged(run.config, clean))
    yield (
        "denoised",
        figures.named_rows({"noisy": rows["noisy"], "denoised": rows["model"], "clean": clean}),
    )
    names = ("noisy", "less the mean", "median filter", "Gaussian filter", "denoised")
    yield (
        "filters",
        figures.named_rows(dict(zip(names, rows.values(), strict=True)) | {"clean": clean}),
    )
    if run.history:
        yield "curves", figures.curves(run.history, ("reconstruction",))


if __name__ == "__main__":
    main(Config)
