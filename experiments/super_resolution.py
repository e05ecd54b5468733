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

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import figures
from aejax.data.dataset import Dataset
from aejax.evaluation.interpolation import enlarged
from aejax.evaluation.reconstruction import check_window
from aejax.likelihoods import bernoulli_log_prob, gaussian_log_prob
from aejax.metrics import psnr, ssim
from aejax.nets.pooling import avg_pool
from aejax.nets.superres import Residual, bottleneck
from aejax.objectives import autoencoder
from aejax.runs.commands import main
from aejax.runs.config import Config as CommonConfig
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CommonConfig):
    """Train a network that enlarges images, or use a trained one."""

    name: ClassVar[str] = "super_resolution"

    epochs: int = 25
    """Passes over the training images."""
    factor: Literal[2, 4] = 2
    """How many times smaller the given images' sides are."""
    net: Literal["bottleneck", "residual"] = "bottleneck"
    """The lesson's autoencoder, or bilinear enlargement plus a learned residual."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        check_sides(image_shape, self.factor)
        net = {
            "bottleneck": lambda: bottleneck(image_shape, self.factor),
            "residual": lambda: Residual(self.factor),
        }[self.net]()
        # The bottleneck gives logits, as in the lesson; the residual is in the image's own units.
        log_prob: Any
        mean: Any
        log_prob, mean = {
            "bottleneck": (bernoulli_log_prob, jax.nn.sigmoid),
            "residual": (lambda y, x: gaussian_log_prob(y, jnp.log(0.1), x), lambda y: y),
        }[self.net]
        network = self.computed(net)
        apply: Any = network.apply
        return Recipe(
            init=lambda key, x: network.init(key, shrink(x, self.factor))["params"],
            loss_fn=autoencoder(
                lambda variables, x: apply(variables, shrink(x, self.factor)), log_prob
            ),
            optimizer=optax.adam(self.learning_rate),
            encode=lambda params, x: shrink(x, self.factor).reshape(len(x), -1),
            decode=lambda params, z: jnp.clip(
                mean(apply({"params": params}, as_small(z, image_shape, self.factor))), 0, 1
            ),
            sample_prior=None,
            figures=pictures,
            headline=lambda m: (
                f"-log-likelihood {m['reconstruction']:.2f} nats "
                f"({m['reconstruction_per_pixel']:.5f} a pixel)"
            ),
            results=results,
        )


def check_sides(image_shape: tuple[int, int, int], factor: int) -> None:
    """Raises a `ValueError` for images that cannot be shrunk or whose SSIM is not defined."""
    height, width, _ = image_shape
    if height % factor or width % factor:
        raise ValueError(f"--factor {factor} does not divide the sides of {height}x{width} images")
    check_window(image_shape)


def shrink(x: jax.Array, factor: int) -> jax.Array:
    """Images `[B, H, W, C]` -> the means of their factor x factor blocks."""
    return avg_pool(x, (factor, factor), (factor, factor))


def as_small(z: Any, image_shape: tuple[int, int, int], factor: int) -> Any:
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


def results(run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
    """Mean PSNR and SSIM of the model and of interpolation; prints which is better.

    `psnr_over_bicubic` is the difference of the means, `share_over_bicubic` the share of the images
    on which the model's PSNR is the higher.
    """
    images = test["x"][:10_000] / np.float32(255)
    ratios, found = {}, {}
    for name, restored in enlargements(run, images).items():
        ratios[name] = decibels(images, restored)
        found[f"psnr_{name}"] = float(ratios[name].mean())
        found[f"ssim_{name}"] = float(jnp.mean(ssim(jnp.asarray(images), jnp.asarray(restored))))
    found["psnr_over_bicubic"] = found["psnr_model"] - found["psnr_bicubic"]
    found["share_over_bicubic"] = float(np.mean(ratios["model"] > ratios["bicubic"]))
    print(verdict(found))
    return found


def verdict(found: dict[str, float]) -> str:
    """A sentence that says whether the model or bicubic interpolation restores images better."""
    wins = found["psnr_over_bicubic"] > 0
    return (
        f"{'the model beats bicubic' if wins else 'bicubic beats the model'} in PSNR: model "
        f"{found['psnr_model']:.2f} dB, bicubic {found['psnr_bicubic']:.2f} dB; the model is "
        f"better on {found['share_over_bicubic']:.0%} of the images; SSIM: model "
        f"{found['ssim_model']:.3f}, bicubic {found['ssim_bicubic']:.3f}"
    )


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves; `super_resolution` gives the PSNR of the images shown."""
    images = figures.first_of_each_class(test, 10).astype(np.float32)
    rows = {}
    for name, restored in enlargements(run, images).items():
        rows[f"{name}\n{decibels(images, restored).mean():.1f} dB"] = restored
    yield "super_resolution", figures.named_rows(rows | {"whole": images})
    yield "from_noise", from_noise(run)
    if run.history:
        yield "curves", figures.curves(run.history, ("reconstruction",))


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
