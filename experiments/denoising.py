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
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from aejax import corruptions, figures, likelihoods, nets
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.evaluation.denoisers import Pairs, Restore, fitted
from aejax.evaluation.reconstruction import check_window, quality
from aejax.models import Autoencoder, Model, flax_model
from aejax.nets.denoiser import residual_pair
from aejax.objectives import Objective, Reconstruction
from aejax.runs.families import AutoencoderConfig, curves
from aejax.runs.run import Run
from aejax.runs.splits import load_split
from aejax.streams import seed_stream
from aejax.types import Batch, Spec

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
class Config(AutoencoderConfig):
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

    def model(self, spec: Spec) -> Model:
        """The denoiser; the residual one keeps pixels that its noise has surely left alone."""
        shape = spec["x"].shape
        check_window(shape)
        pairs: dict[str, Callable[[Any], tuple[nn.Module, nn.Module]]] = {
            "bottleneck": partial(nets.pooled_pair, dense=False),
            "residual": residual_pair,
        }
        keeps = self.net == "residual" and self.noise in SETS_PIXELS
        kind = Keeping if keeps else Autoencoder
        return flax_model(kind(*pairs[self.net](shape), likelihoods.bernoulli()))

    def criterion(self, spec: Spec) -> Objective:
        """The reconstruction of the clean image from the damaged one."""
        return Reconstruction(corrupt=self.corrupt())

    def headline(self, metrics: dict[str, float]) -> str:
        """The error of the clean image."""
        return (
            f"clean from noisy {metrics['reconstruction']:.2f} nats "
            f"({metrics['reconstruction_per_pixel']:.5f} a pixel)"
        )

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """BCE a pixel, PSNR and SSIM on noisy test images, and what the model has over the others.

        `NAME_psnr` is that of the noisy images, of each opponent and of the model; `psnr_over_best`
        is the model's less the best other's.
        """
        clean = np.asarray(test["x"][:TEST_IMAGES], np.float32) / 255
        noisy = damaged(self, clean)
        table = {"noisy": quality(noisy, clean)}
        for name, restorations in opponents(self).items():
            table[name] = {
                metric: quality(restore(noisy), clean)[metric]
                for metric, restore in restorations.items()
            }
        table["model"] = quality(run.reconstruct(noisy), clean)
        found = {f"{name}_{metric}": v for name, row in table.items() for metric, v in row.items()}
        return found | margins(table)

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Denoised images beside the opponents', with the settings of the best PSNR; curves."""
        clean = figures.first_of_each_class(test, 10)
        noisy = damaged(self, clean)
        ours = run.reconstruct(noisy)
        yield "denoised", figures.named_rows({"noisy": noisy, "denoised": ours, "clean": clean})
        rows = {"noisy": noisy}
        for name, restorations in opponents(self).items():
            rows[NAMES[name]] = restorations["psnr"](noisy)
        rows |= {f"{self.net} network": ours, "clean": clean}
        yield "filters", figures.named_rows(rows)
        yield from curves(run, "reconstruction")


class Keeping(Autoencoder):
    """A denoiser that keeps the pixels which the noise has surely left alone as they were.

    That is known of noise that only sets pixels to 0 or 1, and where the codes `[B, H W C]` are the
    noisy images themselves.
    """

    def decode(self, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        """The restored images, or the noisy pixels that are neither 0 nor 1."""
        restored = super().decode(z, batch)
        noisy = z.reshape(restored.shape)
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


if __name__ == "__main__":
    main(Config)
