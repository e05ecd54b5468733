"""Denoising autoencoder: from a damaged image back to the clean one (Vincent et al. 2010).

The convolutional net of the Keras blog (Chollet 2016), 4,385 parameters and a code of 4 x 4 x 8;
or, with --net residual, a network of residual blocks that has no narrow code. Both are trained from
scratch, and the noise is drawn afresh at every step. Where noise only sets pixels to 0 or 1, the
residual network keeps the others as they are, as its best opponents do. These are denoisers without
a network, fitted on the training images: filters, total variation, non-local means, wavelets, and
the Wiener filter. Each is given the setting that is best in the metric that it is judged by. All
are judged on the first 1,000 test images, with the same noise.

Command:   python experiments/denoising.py
           python experiments/denoising.py --net residual
Expected:  see RESULTS.md
Cost:      a few minutes on two cores
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import corruptions, figures, likelihoods, models, nets, objectives
from aejax.data.dataset import Dataset
from aejax.evaluation.denoisers import Pairs, Restore, fitted
from aejax.evaluation.reconstruction import check_window, quality
from aejax.nets.denoiser import residual_pair
from aejax.nets.layers import Shape
from aejax.runs.commands import main
from aejax.runs.config import Config as RunConfig
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.runs.splits import load_split
from aejax.streams import seed_stream

TRAINING_IMAGES = 5000  # that the opponents are fitted on
TEST_IMAGES = 1000
SETS_PIXELS = ("salt_and_pepper", "masking")  # noise that sets pixels to 0 or 1, or leaves them
NAMES = {
    "rescaled": "rescaled",
    "median": "median filter",
    "gaussian": "Gaussian filter",
    "total_variation": "total variation",
    "non_local_means": "non-local means",
    "wavelet": "wavelets",
    "wiener": "Wiener filter",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Train a denoising autoencoder, or use a trained one (evaluate, encode, reconstruct)."""

    name: ClassVar[str] = "denoising"

    epochs: int = 25
    """Passes over the training images."""
    noise: Literal["lesson", "gaussian", "salt_and_pepper", "masking"] = "lesson"
    """lesson: Gaussian of mean and sd 0.5; gaussian: of mean 0, sd 0.5; both clipped to [0, 1].
    salt_and_pepper: 30% of the pixels become 0 or 1; masking: half of them 0."""
    net: Literal["bottleneck", "residual"] = "bottleneck"
    """The lesson's autoencoder, or residual blocks without a narrow code, whose codes are the noisy
    images themselves."""

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
        pairs: dict[str, Callable[[Shape], tuple[nn.Module, nn.Module]]] = {
            "bottleneck": partial(nets.pooled_pair, dense=False),
            "residual": residual_pair,
        }
        encoder, decoder = map(self.computed, pairs[self.net](image_shape))
        model = models.functions(models.Autoencoder(encoder, decoder))
        likelihood = likelihoods.bernoulli()
        return Recipe(
            init=model.init,
            loss_fn=objectives.autoencoder(
                model.apply, likelihood.log_prob, corrupt=self.corrupt()
            ),
            optimizer=optax.adam(self.learning_rate),
            encode=model.encode,
            decode=lambda params, z: self.kept(z, likelihood.mean(model.decode(params, z))),
            sample_prior=None,
            figures=pictures,
            headline=lambda m: (
                f"clean from noisy {m['reconstruction']:.2f} nats "
                f"({m['reconstruction_per_pixel']:.5f} a pixel)"
            ),
            results=results,
        )

    def kept(self, codes: jax.Array, restored: jax.Array) -> jax.Array:
        """Restored images, with the pixels that the noise has surely left alone as they were.

        That is known of noise that only sets pixels to 0 or 1, and where the codes `[B, H W C]` are
        the noisy images themselves.
        """
        if self.net != "residual" or self.noise not in SETS_PIXELS:
            return restored
        noisy = codes.reshape(restored.shape)
        return jnp.where((noisy > 0) & (noisy < 1), noisy, restored)


def damaged(config: Config, images: np.ndarray, split: str = "test") -> np.ndarray:
    """Images `[N, H, W, C]` in [0, 1] with the noise that the run's seed fixes for a split."""
    train_key, test_key = jax.random.split(seed_stream(config.seed, "data"))
    key = {"train": train_key, "test": test_key}[split]
    return np.asarray(jax.jit(config.corrupt())(key, np.asarray(images, np.float32)))


@lru_cache(maxsize=1)  # results and figures want the same
def opponents(config: Config) -> dict[str, dict[str, Restore]]:
    """Denoisers without a network, fitted on training images; see `denoisers.fitted`."""
    train = load_split(config, "train").first(TRAINING_IMAGES)
    clean = np.asarray(train["x"], np.float32) / 255
    return fitted(Pairs(clean, damaged(config, clean, "train")))


def results(run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
    """BCE a pixel, PSNR and SSIM on noisy test images, and what the model has over the opponents.

    `NAME_psnr` is that of the noisy images, of each opponent and of the model; `psnr_over_best` is
    the model's less the best other's.
    """
    assert isinstance(run.config, Config)
    clean = np.asarray(test["x"][:TEST_IMAGES], np.float32) / 255
    noisy = damaged(run.config, clean)
    table = {"noisy": quality(noisy, clean)}
    for name, restorations in opponents(run.config).items():
        table[name] = {
            metric: quality(restore(noisy), clean)[metric]
            for metric, restore in restorations.items()
        }
    table["model"] = quality(run.reconstruct(noisy), clean)
    found = {f"{name}_{metric}": v for name, row in table.items() for metric, v in row.items()}
    return found | margins(table)


def margins(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """The model's PSNR and SSIM less the best that is not the model's; prints who is ahead."""
    found = {}
    for metric in ("psnr", "ssim"):
        best = max((name for name in table if name != "model"), key=lambda n: table[n][metric])
        ours, theirs = table["model"][metric], table[best][metric]
        found[f"{metric}_over_best"] = ours - theirs
        does = "beats" if ours > theirs else "loses to"
        print(
            f"{metric.upper()}: the model, {ours:.3f}, {does} the best other, {best}, {theirs:.3f}"
        )
    return found


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves; the opponents' settings are those of the best PSNR."""
    assert isinstance(run.config, Config)
    clean = figures.first_of_each_class(test, 10)
    noisy = damaged(run.config, clean)
    ours = run.reconstruct(noisy)
    yield "denoised", figures.named_rows({"noisy": noisy, "denoised": ours, "clean": clean})
    rows = {"noisy": noisy}
    for name, restorations in opponents(run.config).items():
        rows[NAMES[name]] = restorations["psnr"](noisy)
    rows |= {f"{run.config.net} network": ours, "clean": clean}
    yield "filters", figures.named_rows(rows)
    if run.history:
        yield "curves", figures.curves(run.history, ("reconstruction",))


if __name__ == "__main__":
    main(Config)
