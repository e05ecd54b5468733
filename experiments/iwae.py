"""Importance-weighted autoencoder, Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519).

Their network of one stochastic layer (784-200-200-50 tanh), images binarised anew at every step,
batches of 20, Adam with epsilon 1e-4, and their ladder: 3^i epochs at the learning rate
10^(-3 - i / (r - 1)), i = 0 ... r - 1. `--epochs` is the length of the ladder: 13 (r = 3), 40, 121,
364, 1093 or their 3280 (r = 8). Test images are binarised once, with seed 0.

Log p(x) by 5,000 draws of q(z|x) and the active units are measured at the end.

Command:   python experiments/iwae.py --dataset fashion_mnist --objective iwae --samples 50
           python experiments/iwae.py --dataset fashion_mnist --objective sampled --samples 50
           python experiments/iwae.py --dataset fashion_mnist --objective iwae --gradient double
Expected:  see RESULTS.md. The paper's -log p(x) on MNIST, in nats,
           with --epochs 3280: VAE 86.76, 86.47, 86.35 and IWAE 86.76, 85.54, 84.78 at 1, 5, 50
           samples
Cost:      on two cores, 60,000 images: see there; log p(x) takes three to five minutes of it
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets
from aejax.cli.commands import main
from aejax.data.binary import binarized
from aejax.data.dataset import Dataset
from aejax.models import Model
from aejax.objectives import (
    Ciwae,
    Iwae,
    Miwae,
    Objective,
    Piwae,
    Renyi,
    Sampled,
    dynamically_binarized,
)
from aejax.runs.families import VaeConfig, curves, reconstructions
from aejax.runs.run import Run
from aejax.settings import setting
from aejax.streams import seed_stream
from aejax.types import Spec

KINDS = {kind.name: kind for kind in (Iwae, Sampled, Miwae, Piwae, Ciwae, Renyi)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VaeConfig):
    """Train an importance-weighted autoencoder, or use a trained one."""

    name: ClassVar[str] = "iwae"
    kinds: ClassVar[Mapping[str, Mapping[str, type]]] = {"objective": KINDS}

    epochs: int = 13
    """Passes over the training images, a ladder's length: 1, 4, 13, 40, 121, 364, 1093, 3280."""
    batch_size: int = 20
    """Images a step."""
    latent_dim: int = 50
    """Dimensions of the latent."""
    hidden: tuple[int, ...] = (200, 200)
    """Widths of the tanh layers, from the image inwards."""
    objective: Objective = dataclasses.field(default=Iwae())
    """What is maximised."""
    eval_samples: int = setting(5000, at_least=0)
    """Draws of q(z|x) for log p(x) of each test image at the end; 0: leave it out."""

    def model(self, spec: Spec) -> Model:
        """The paper's VAE of one stochastic layer and binary pixels."""
        pair = nets.mlp_pair(spec["x"].shape, self.hidden, nn.tanh)
        return models.vae(*pair, self.latent_dim, likelihoods.bernoulli())

    def criterion(self, spec: Spec) -> Objective:
        """The bound, of images binarised anew at every step."""
        return dynamically_binarized(self.objective)

    def optimizer(self, steps_per_epoch: int) -> optax.GradientTransformation:
        """Adam down the ladder."""
        return optax.adam(ladder(self.epochs, steps_per_epoch, self.learning_rate), eps=1e-4)

    def observe(self, data: Dataset) -> Dataset:
        """Images binarised once."""
        return binarized(data, seed=0)

    def check(self) -> None:
        """Raises a `ValueError` for the flags that the ladder stands in place of."""
        rungs(self.epochs)
        if self.weight_decay:
            raise ValueError(
                f"--weight-decay {self.weight_decay} is not for iwae.py, whose ladder it would not "
                "go down"
            )
        if self.schedule != "constant":
            raise ValueError(f"--schedule {self.schedule} is not for iwae.py, which has a ladder")

    def by_length(self) -> bool:
        """The epochs are the ladder's length."""
        return True

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """-log p(x) of the test images in nats, and how many dimensions are in use."""
        return likelihood_and_units(self.eval_samples, run, test) if self.eval_samples else {}

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, samples and curves."""
        yield "reconstructions", reconstructions(run, test)
        samples = run.sample(seed_stream(self.seed, "pictures"), 100)
        yield "samples", figures.image_grid(samples)
        yield from curves(run, "loss", "iwae", "elbo")


def rungs(epochs: int) -> list[int]:
    """The epochs at which the rungs of a ladder of that length end.

    Raises:
        ValueError: if no number of rungs comes to it.
    """
    lengths = [(3**r - 1) // 2 for r in range(1, 9)]
    if epochs not in lengths:
        raise ValueError(f"--epochs {epochs} is no ladder's length: {', '.join(map(str, lengths))}")
    return lengths[: lengths.index(epochs) + 1]


def ladder(epochs: int, steps: int, rate: float) -> optax.Schedule:
    """3^i epochs of `steps` at rate x 10^(-i / (r - 1)), for the r rungs that come to `epochs`."""
    *ends, _ = lengths = rungs(epochs)
    fall = 10 ** (-1 / max(len(lengths) - 1, 1))
    return optax.piecewise_constant_schedule(rate, {n * steps: fall for n in ends})


def likelihood_and_units(samples: int, run: Run, test: Dataset) -> dict[str, float]:
    """-log p(x) of the test images by `samples` draws of q(z|x), and the active units."""
    from aejax.runs.log_likelihood import likelihood_results
    from aejax.runs.measurements import evaluation_keys, latent_results

    keys = evaluation_keys(0)
    found = likelihood_results(run, test, keys["likelihood"], samples=samples, memory=None)
    return {
        "negative_log_likelihood": -found["log_likelihood"]["mean"],
        "standard_error": found["log_likelihood"]["error"],
        "active_units": latent_results(run, test, keys["latent"])["active_units"],
        "seconds": found["log_likelihood_seconds"],
        "of_matmul_peak": found["log_likelihood_of_matmul_peak"],
    }


if __name__ == "__main__":
    main(Config)
