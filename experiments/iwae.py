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
from functools import partial
from typing import ClassVar

import flax.linen as nn
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets, objectives
from aejax.data.binary import binarized
from aejax.data.dataset import Dataset
from aejax.runs import headlines
from aejax.runs.commands import main
from aejax.runs.config import Config as BaseConfig
from aejax.runs.objectives import Ciwae, Iwae, Miwae, Objective, Piwae, Renyi, Sampled, Training
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.streams import seed_stream
from aejax.traced import is_known

KINDS = {kind.name: kind for kind in (Iwae, Sampled, Miwae, Piwae, Ciwae, Renyi)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
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
    eval_samples: int = 5000
    """Draws of q(z|x) for log p(x) of each test image at the end; 0: leave it out."""

    def build_for(self, image_shape: tuple[int, int, int], train_images: int) -> Recipe:
        """Model, loss, ladder and figures for images of `(H, W, C)`."""
        self.check()
        encoder, decoder = map(self.computed, nets.mlp_pair(image_shape, self.hidden, nn.tanh))
        vae, likelihood = models.VAE(encoder, decoder, self.latent_dim), likelihoods.bernoulli()
        model = models.functions(vae)
        functions = models.latent_variable_model(vae, likelihood)
        training = Training(self.steps(train_images), train_images, self.batch_size)
        loss_fn = self.objective.loss(functions, training)
        rate = ladder(self.epochs, train_images // self.batch_size, self.learning_rate)
        return Recipe(
            init=model.init,
            loss_fn=objectives.dynamically_binarized(loss_fn),
            optimizer=optax.adam(rate, eps=1e-4),
            encode=lambda params, x: model.encode(params, x).mean,
            decode=lambda params, z: likelihood.mean(model.decode(params, z)),
            sample_prior=lambda params, key, n: functions.prior(params).samples(key, n),
            figures=pictures,
            headline=headlines.elbo,
            score=self.objective.score,
            results=partial(results, self.eval_samples) if self.eval_samples else None,
            latent_variable_model=functions,
            observe=lambda data: binarized(data, seed=0),
        )

    def check(self) -> None:
        """Raises a `ValueError` for the first flag whose value makes no sense."""
        if self.latent_dim < 1:
            raise ValueError(f"--latent-dim {self.latent_dim} is not positive")
        if self.eval_samples < 0:
            raise ValueError(f"--eval-samples {self.eval_samples} is negative: 0 leaves it out")
        if is_known(self.weight_decay) and self.weight_decay:
            raise ValueError(
                f"--weight-decay {self.weight_decay} is not for iwae.py, whose ladder it would not "
                "go down"
            )
        if self.schedule != "constant":
            raise ValueError(f"--schedule {self.schedule} is not for iwae.py, which has a ladder")

    def resumable(self) -> frozenset[str]:
        """Not the epochs: they are the ladder's length."""
        return super().resumable() - {"epochs"}


def ladder(epochs: int, steps: int, rate: float) -> optax.Schedule:
    """3^i epochs of `steps` at rate x 10^(-i / (r - 1)), for the r rungs that come to `epochs`.

    Raises:
        ValueError: if no number of rungs does.
    """
    lengths = [(3**r - 1) // 2 for r in range(1, 9)]
    if epochs not in lengths:
        raise ValueError(f"--epochs {epochs} is no ladder's length: {', '.join(map(str, lengths))}")
    rungs = lengths.index(epochs) + 1
    fall = 10 ** (-1 / max(rungs - 1, 1))
    return optax.piecewise_constant_schedule(rate, {n * steps: fall for n in lengths[: rungs - 1]})


def results(samples: int, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
    """-log p(x) of the test images in nats, and how many dimensions of the latent are in use."""
    from aejax.runs.evaluation import evaluation_keys, latent_results
    from aejax.runs.likelihood import likelihood_results

    keys = evaluation_keys(0)
    found = likelihood_results(run, test, keys["likelihood"], samples=samples, memory=None)
    return {
        "negative_log_likelihood": -found["log_likelihood"]["mean"],
        "standard_error": found["log_likelihood"]["error"],
        "active_units": latent_results(run, test, keys["latent"])["active_units"],
        "seconds": found["log_likelihood_seconds"],
        "of_matmul_peak": found["log_likelihood_of_matmul_peak"],
    }


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    yield "samples", figures.image_grid(run.sample(seed_stream(run.config.seed, "pictures"), 100))
    if run.history:
        yield "curves", figures.curves(run.history, ("loss", "iwae", "elbo"))


if __name__ == "__main__":
    main(Config)
