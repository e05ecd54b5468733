"""What all autoencoders share, and all variational ones: objective, headline and pictures."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from aejax import figures
from aejax.data.dataset import Dataset
from aejax.objectives import Elbo, Objective, Reconstruction
from aejax.runs.config import Config
from aejax.settings import setting
from aejax.streams import seed_stream
from aejax.types import Spec

SHOWN = 10_000  # test examples whose codes are drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(Config):
    """A `Config` of a deterministic autoencoder; an experiment adds its `model`."""

    def criterion(self, spec: Spec) -> Objective:
        """The reconstruction error."""
        return Reconstruction()

    def headline(self, metrics: dict[str, float]) -> str:
        """The reconstruction error, of an example and of a pixel."""
        per_pixel = metrics["reconstruction_per_pixel"]
        return f"reconstruction {metrics['reconstruction']:.2f} nats ({per_pixel:.5f} a pixel)"

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, the codes in the plane, the curves."""
        yield "reconstructions", reconstructions(run, test)
        yield "latent", latent(run, test)
        yield from curves(run, "reconstruction")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VaeConfig(Config):
    """A `Config` of a variational autoencoder; an experiment adds its `model`."""

    latent_dim: int = setting(2, at_least=1)
    """Dimensions of the latent."""

    def criterion(self, spec: Spec) -> Objective:
        """The ELBO."""
        return Elbo()

    def headline(self, metrics: dict[str, float]) -> str:
        """The ELBO and its parts; of a Wasserstein autoencoder the MMD in the KL's place."""
        if "elbo" not in metrics:
            error, mmd = metrics["reconstruction"], metrics["mmd"]
            return f"reconstruction {error:.2f} nats, squared MMD {mmd:.5f}"
        return (
            f"ELBO {metrics['elbo']:.2f} nats = log-likelihood {-metrics['reconstruction']:.2f} "
            f"- KL {metrics['kl']:.2f}"
        )

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, samples, the codes and what a plane of them decodes to, the curves."""
        yield "reconstructions", reconstructions(run, test)
        samples = run.sample(seed_stream(self.seed, "pictures"), 100)
        yield "samples", figures.image_grid(figures.as_images(samples))
        yield "latent", latent(run, test)
        if self.latent_dim == 2 and run.images:
            yield "manifold", figures.manifold(run.decode)
        yield from curves(run, "loss", "reconstruction", "kl", "mmd")


def reconstructions(run: Any, test: Dataset) -> Figure:
    """Test examples above their reconstructions."""
    examples = figures.first_of_each_class(test, 20)
    restored = figures.as_images(run.reconstruct(examples))
    return figures.reconstructions(figures.as_images(examples), restored)


def latent(run: Any, test: Dataset) -> Figure:
    """The codes of test examples in the plane, by class."""
    some = test.first(SHOWN)
    return figures.latent_scatter(run.encode(some["x"]), some.labels, test.label_names)


def curves(run: Any, *names: str) -> Iterator[tuple[str, Figure]]:
    """The metrics of these names along the training, if there was one."""
    if run.history:
        yield "curves", figures.curves(run.history, [n for n in names if n in run.metrics])
