"""Conditional VAE: the class is given, z keeps the style (Sohn, Lee & Yan 2015).

p(z|y) is a learned mixture of Gaussians for each class, because the codes of a class do not fill
N(0, I), and what is drawn between them decodes to no digit; `--prior normal` shows it. Codes are
`[z, one-hot of the class]`: an image's class is the one whose ELBO, at the posterior's mean, is
highest.

Command:   python experiments/conditional_vae.py
           python experiments/conditional_vae.py --prior normal
Expected:  see RESULTS.md; of the samples a judge recognises less as the
           class asked for than of test images, and more than with N(0, I)
Cost:      a minute or two on two cores, the judge and the plain VAE beside it included
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from aejax import figures, models
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.evaluation.coverage import diversity
from aejax.evaluation.probes import linear_probe_accuracy
from aejax.judging.judge import fit_judge
from aejax.models import Model
from aejax.nets.priors import ClassMixturePrior
from aejax.objectives import Elbo, Objective, Sampled, make_loss
from aejax.runs.architecture import ArchitectureConfig
from aejax.runs.families import VaeConfig, curves, reconstructions
from aejax.runs.idle_flags import Conditions, With
from aejax.runs.run import Run
from aejax.settings import setting
from aejax.streams import seed_stream
from aejax.training.fit import fit
from aejax.training.state import TrainState
from aejax.types import Spec

SAMPLES = 1000  # that are judged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ArchitectureConfig, VaeConfig):
    """Train a conditional variational autoencoder, or use a trained one."""

    name: ClassVar[str] = "conditional_vae"
    acts: ClassVar[Conditions] = {
        **ArchitectureConfig.acts,
        "components": With("prior", ("mixture",)),
    }

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 64
    """Images a step."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """The learning rate throughout, or its rise over 2% of the steps and a cosine down to 0."""
    latent_dim: int = 8
    """Dimensions of the latent."""
    hidden: tuple[int, ...] = (512, 256)
    """Widths of the dense layers, from the image inwards (--net mlp)."""
    classes: int = setting(10, at_least=2)
    """Classes of the data set."""
    prior: Literal["normal", "mixture"] = "mixture"
    """p(z|y): N(0, I), or a learned mixture of Gaussians for each class."""
    components: int = setting(20, at_least=1)
    """Components of a class's mixture (--prior mixture)."""

    def model(self, spec: Spec) -> Model:
        """A VAE that is given the class, with a prior for each."""
        nets = self.nets(spec)
        return models.conditional_vae(
            *nets, self.latent_dim, self.classes, self.p_x(), self.prior_net()
        )

    def criterion(self, spec: Spec) -> Objective:
        """The ELBO with its KL sampled, whatever the prior."""
        return Sampled()

    def prior_net(self) -> nn.Module | None:
        """The learned prior p(z|y), or None for N(0, I)."""
        if self.prior == "normal":
            return None
        return ClassMixturePrior(self.classes, self.components, self.latent_dim)

    def check_examples(self, data: Dataset) -> None:
        """Raises a `ValueError` unless all labels are classes."""
        low, high = int(data.labels.min()), int(data.labels.max())
        if not 0 <= low <= high < self.classes:
            found = "no labels" if high < 0 else f"labels {low} to {high}"
            raise ValueError(
                f"has {found}: {self.name}.py needs 0 to {self.classes - 1}; give another, or "
                "--classes"
            )

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """Whether samples show the class asked for, how diverse they are, what z says of it."""
        train, test = train.first(10_000), test.first(10_000)
        guessed = np.argmax(run.encode(test["x"])[:, self.latent_dim :], axis=-1)
        z = run.encode(train), run.encode(test)
        plain = plain_codes(self, run, train, test)
        return sample_results(self, run, train, test) | {
            "accuracy_by_highest_elbo": float(np.mean(guessed == test.labels)),
            "linear_probe_on_z": linear_probe_accuracy(z[0], train.labels, z[1], test.labels),
            "linear_probe_on_plain_vaes_z": linear_probe_accuracy(
                plain[0], train.labels, plain[1], test.labels
            ),
        }

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, samples of each class, the codes in the plane, curves."""
        yield "reconstructions", reconstructions(run, test)
        codes = run.prior_codes(seed_stream(self.seed, "pictures"), 12 * self.classes)
        drawn = run.decode(codes).reshape(12, self.classes, *run.spec["x"].shape)
        names = test.label_names or tuple(map(str, range(self.classes)))
        rows = {name: drawn[:, label] for label, name in enumerate(names[: self.classes])}
        yield "classes", figures.named_rows(rows, "samples: a class a row, draws of z from p(z|y)")
        codes = run.encode(test["x"][:10_000])[:, : self.latent_dim]
        yield "latent", figures.latent_scatter(codes, test.labels[:10_000], test.label_names)
        yield from curves(run, "loss", "reconstruction", "kl")


def sample_results(config: Config, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
    """What a judge says of samples, beside what it says of test images and of reconstructions.

    The reconstructions are of test images, whose class is given: the decoder's share in what
    samples lack; the rest is the prior's. Diversity is measured in the classifier's features, with
    as many training images beside.
    """
    judge = fit_judge(train)
    key = seed_stream(run.config.seed, "results")
    codes = run.prior_codes(key, SAMPLES)
    samples, asked = run.decode(codes), np.argmax(codes[:, config.latent_dim :], axis=-1)
    one_hot = np.eye(config.classes, dtype=np.float32)[test.labels]
    restored = run.decode(np.concatenate([run.encode(test), one_hot], axis=-1))
    real = judge.recognised_as(test["x"], test.labels)
    features = judge.classifier.features
    seen, some = features(test["x"]), train.first(SAMPLES)
    diverse, as_training = (
        diversity(seen, test.labels, features(images), labels)
        for images, labels in ((samples, asked), (some["x"], some.labels))
    )
    found = judge.recognised_as(samples, asked)
    return {
        "samples_recognised_as_asked": found,
        "test_images_recognised": real,
        "of_what_test_images_reach": found / real,
        "reconstructions_recognised": judge.recognised_as(restored, test.labels),
        "samples_of_the_asked_class": float(np.mean(judge.classifier.classify(samples) == asked)),
        "classifier_accuracy": judge.classifier.accuracy(test),
        "coverage_by_samples": diverse["coverage"],
        "coverage_by_training_images": as_training["coverage"],
        "distance_of_samples": diverse["distance"],
        "distance_of_training_images": as_training["distance"],
    }


def plain_codes(
    config: Config, run: Run, train: Dataset, test: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """The codes of a VAE of the same nets that is not told the class, trained as long."""
    model = models.vae(*config.nets(run.spec), config.latent_dim, config.p_x())
    init_key, key = jax.random.split(seed_stream(config.seed, "beside"))
    blank = {"x": jnp.zeros((1, *run.spec["x"].shape))}
    params = model.init(init_key, blank)["params"]
    optimizer = run.recipe.optimizer
    state = TrainState.create(params, optimizer, key)
    loss_fn = make_loss(model, Elbo())
    epochs, batch_size = config.epochs, config.batch_size
    state, _ = fit(state, loss_fn, optimizer, train, epochs=epochs, batch_size=batch_size)
    variables = {"params": state.params}
    encode = jax.jit(lambda x: model.posterior(variables, {"x": x / jnp.float32(255)}).mean)
    return np.asarray(encode(train["x"][:10_000])), np.asarray(encode(test["x"][:10_000]))


if __name__ == "__main__":
    main(Config)
