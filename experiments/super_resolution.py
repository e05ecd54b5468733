"""Super-resolution: the image from its average-pooled self, beside interpolation.

The lesson's bottleneck (AI for Beginners, lesson 9), and a residual network with sub-pixel
convolution (Shi et al. 2016, arXiv 1609.05158) that has no bottleneck. Codes are the small images.

Command:   python experiments/super_resolution.py
           python experiments/super_resolution.py --net residual
           python experiments/super_resolution.py --factor 4 --net residual
           python experiments/super_resolution.py --dataset photos --factor 4 --net residual
Expected:  see RESULTS.md; published for MNIST, bottleneck: 0.0955 a pixel.
           The residual network beats bicubic interpolation at both factors, in colour too. The
           bottleneck, which sees no detail past its code, loses to it but for digits at 4x.
Cost:      half a minute to two minutes on two cores
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from aejax import figures, likelihoods
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.evaluation.interpolation import enlarged
from aejax.evaluation.reconstruction import check_window
from aejax.likelihoods import Likelihood
from aejax.metrics import psnr, ssim
from aejax.models import Model, Point, flax_model
from aejax.nets.pooling import avg_pool
from aejax.nets.superres import Residual, bottleneck
from aejax.runs.families import AutoencoderConfig, curves
from aejax.runs.run import Run
from aejax.types import Batch, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AutoencoderConfig):
    """Train a network that enlarges images, or use a trained one."""

    name: ClassVar[str] = "super_resolution"

    epochs: int = 25
    """Passes over the training images."""
    factor: Literal[2, 4] = 2
    """How many times smaller the given images' sides are."""
    net: Literal["bottleneck", "residual"] = "bottleneck"
    """The lesson's autoencoder, or bilinear enlargement plus a learned residual."""

    def model(self, spec: Spec) -> Model:
        """The enlarging network; codes are the small images."""
        shape = spec["x"].shape
        check_sides(shape, self.factor)
        net = {
            "bottleneck": lambda: bottleneck(shape, self.factor),
            "residual": lambda: Residual(self.factor),
        }[self.net]()
        # The bottleneck gives logits, as in the lesson; the residual is in the image's own units.
        likelihood = {
            "bottleneck": likelihoods.bernoulli(),
            "residual": likelihoods.gaussian(0.1),
        }[self.net]
        return flax_model(Enlarging(net, likelihood, self.factor, shape))

    def headline(self, metrics: dict[str, float]) -> str:
        """The error of the whole image."""
        return (
            f"-log-likelihood {metrics['reconstruction']:.2f} nats "
            f"({metrics['reconstruction_per_pixel']:.5f} a pixel)"
        )

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """Mean PSNR and SSIM of the model and of interpolation; prints which is better.

        `psnr_over_bicubic` is the difference of the means, `share_over_bicubic` the share of the
        images on which the model's PSNR is the higher.
        """
        images = test["x"][:10_000] / np.float32(255)
        ratios, found = {}, {}
        for name, restored in enlargements(run, images).items():
            ratios[name] = decibels(images, restored)
            found[f"psnr_{name}"] = float(ratios[name].mean())
            similar = ssim(jnp.asarray(images), jnp.asarray(restored))
            found[f"ssim_{name}"] = float(jnp.mean(similar))
        found["psnr_over_bicubic"] = found["psnr_model"] - found["psnr_bicubic"]
        found["share_over_bicubic"] = float(np.mean(ratios["model"] > ratios["bicubic"]))
        print(verdict(found))
        return found

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Enlarged images with the PSNR of those that are shown, enlarged noise, curves."""
        images = figures.first_of_each_class(test, 10).astype(np.float32)
        rows = {}
        for name, restored in enlargements(run, images).items():
            rows[f"{name}\n{decibels(images, restored).mean():.1f} dB"] = restored
        yield "super_resolution", figures.named_rows(rows | {"whole": images})
        yield "from_noise", from_noise(run)
        yield from curves(run, "reconstruction")


class Enlarging(nn.Module):
    """An image's code is its small self `[B, H/f W/f C]`, which `net` enlarges."""

    net: nn.Module
    likelihood: Likelihood
    factor: int
    image_shape: tuple[int, ...]

    def setup(self) -> None:
        nn.share_scope(self, self.net)

    def posterior(self, batch: Batch) -> Point:
        """The small images, flat."""
        return Point(shrink(batch["x"], self.factor).reshape(len(batch["x"]), -1))

    def prior(self, batch: Batch | None = None) -> None:
        """There is none."""

    def log_likelihood(self, batch: Batch, z: jax.Array) -> jax.Array:
        """Log p(x|z), `[B]`."""
        return self.likelihood.log_prob(self._enlarged(z), batch["x"])

    def decode(self, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        """The enlarged images, within [0, 1]."""
        return jnp.clip(self.likelihood.mean(self._enlarged(z)), 0, 1)

    def draw(self, key: jax.Array, z: jax.Array, batch: Batch | None = None) -> jax.Array:
        """Draws x from p(x|z)."""
        return self.likelihood.sample(key, self._enlarged(z))

    def _enlarged(self, z: jax.Array) -> Any:
        return self.net(as_small(z, self.image_shape, self.factor))


def check_sides(image_shape: tuple[int, ...], factor: int) -> None:
    """Raises a `ValueError` for images that cannot be shrunk or whose SSIM is not defined."""
    height, width, _ = image_shape
    if height % factor or width % factor:
        raise ValueError(f"--factor {factor} does not divide the sides of {height}x{width} images")
    check_window(image_shape)


def shrink(x: jax.Array, factor: int) -> jax.Array:
    """Images `[B, H, W, C]` -> the means of their factor x factor blocks."""
    return avg_pool(x, (factor, factor), (factor, factor))


def as_small(z: Any, image_shape: tuple[int, ...], factor: int) -> Any:
    """Codes `[B, D]` -> small images `[B, H/f, W/f, C]`."""
    height, width, channels = image_shape
    return z.reshape(-1, height // factor, width // factor, channels)


def enlargements(run: Run, images: np.ndarray) -> dict[str, np.ndarray]:
    """Float images `[N, H, W, C]` shrunk and enlarged again, by each method and by the model."""
    config: Any = run.config
    small = run.encode(images)
    ways = enlarged(as_small(small, run.spec["x"].shape, config.factor), config.factor)
    return ways | {"model": run.decode(small)}


def decibels(images: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """PSNR `[N]` of images `[N, H, W, C]`, at most 100 dB: one exact image would make means inf."""
    return np.minimum(psnr(jnp.asarray(images), jnp.asarray(restored)), 100.0)


def verdict(found: dict[str, float]) -> str:
    """A sentence that says whether the model or bicubic interpolation restores images better."""
    wins = found["psnr_over_bicubic"] > 0
    return (
        f"{'the model beats bicubic' if wins else 'bicubic beats the model'} in PSNR: model "
        f"{found['psnr_model']:.2f} dB, bicubic {found['psnr_bicubic']:.2f} dB; the model is "
        f"better on {found['share_over_bicubic']:.0%} of the images; SSIM: model "
        f"{found['ssim_model']:.3f}, bicubic {found['ssim_bicubic']:.3f}"
    )


def from_noise(run: Run) -> Figure:
    """What bicubic interpolation and the model make of small images of uniform noise."""
    config: Any = run.config
    height, width, channels = run.spec["x"].shape
    shape = (10, height // config.factor, width // config.factor, channels)
    noise = np.random.default_rng(config.seed).uniform(size=shape).astype(np.float32)
    ways = enlarged(noise, config.factor)
    model = run.decode(noise.reshape(len(noise), -1))
    return figures.named_rows(
        {"noise": ways["nearest"], "bicubic": ways["bicubic"], "model": model}
    )


if __name__ == "__main__":
    main(Config)
