"""Super-resolution: the image from its average-pooled self, beside interpolation.

The lesson's bottleneck (AI for Beginners, lesson 9), and a residual network with sub-pixel
convolution (Shi et al. 2016, arXiv 1609.05158) that has no bottleneck. Codes are the small images.

Command:   python experiments/super_resolution.py
           python experiments/super_resolution.py --net residual
           python experiments/super_resolution.py --factor 4 --net residual
Expected:  see the README's table of experiments; published for MNIST, bottleneck: 0.0955 a pixel
Cost:      half a minute on two cores
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
from aejax.data.dataset import ImageDataset
from aejax.evaluation.interpolation import enlarged
from aejax.likelihoods import bernoulli_log_prob, gaussian_log_prob
from aejax.metrics import psnr, ssim
from aejax.nets.pooling import avg_pool
from aejax.nets.superres import Bottleneck, Residual
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
        height, width, _ = image_shape
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"--factor {self.factor} does not divide the sides of {height}x{width} images"
            )
        network = {
            "bottleneck": lambda: Bottleneck(image_shape, self.factor),
            "residual": lambda: Residual(self.factor),
        }[self.net]()
        # The bottleneck gives logits, as in the lesson; the residual is in the image's own units.
        log_prob: Any
        mean: Any
        log_prob, mean = {
            "bottleneck": (bernoulli_log_prob, jax.nn.sigmoid),
            "residual": (lambda y, x: gaussian_log_prob(y, jnp.log(0.1), x), lambda y: y),
        }[self.net]
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
    ways = enlarged(as_small(small, run.image_shape, config.factor), config.factor)
    return ways | {"model": run.decode(small)}


def results(run: Run, train: ImageDataset, test: ImageDataset) -> dict[str, float]:
    """PSNR and SSIM of the model and of interpolation, and by how much it beats bicubic."""
    images = test.images[:10_000] / np.float32(255)
    whole, found = jnp.asarray(images), {}
    for name, restored in enlargements(run, images).items():
        found[f"psnr_{name}"] = float(jnp.mean(psnr(whole, jnp.asarray(restored))))
        found[f"ssim_{name}"] = float(jnp.mean(ssim(whole, jnp.asarray(restored))))
    found["psnr_over_bicubic"] = found["psnr_model"] - found["psnr_bicubic"]
    return found


def pictures(run: Run, test: ImageDataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    images = figures.first_of_each_class(test, 10).astype(np.float32)
    ways = enlargements(run, images)
    rows = {"small": ways["nearest"], "bicubic": ways["bicubic"], "model": ways["model"]}
    yield "super_resolution", figures.named_rows(rows | {"whole": images})
    config: Any = run.config
    size = run.encode(images).shape[1]
    noise = np.random.default_rng(config.seed).uniform(size=(10, size)).astype(np.float32)
    small = as_small(noise, run.image_shape, config.factor)
    shown = {"noise": enlarged(small, config.factor)["nearest"], "model": run.decode(noise)}
    yield "from_noise", figures.named_rows(shown)
    if run.history:
        yield "curves", figures.curves(run.history, ("reconstruction",))


if __name__ == "__main__":
    main(Config)
