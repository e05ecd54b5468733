"""The convolutional autoencoder of 4,385 parameters, and what noise in its code does.

Chollet 2016, "Building autoencoders in Keras", and AI for Beginners, lesson 9. The code is a
4 x 4 x 8 map; with --latent-dim a Dense layer follows the convolutions (the lesson's first task).
The second task is noise in the latent: how far a code can move before its decoding changes class.

Command:   python experiments/conv_autoencoder.py
           python experiments/conv_autoencoder.py --latent-dim 2 --epochs 100
Expected:  see RESULTS.md; published for MNIST: 0.0953 a pixel
Cost:      under a minute on two cores, the classifier included; two for the second command
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import numpy as np
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.evaluation.probes import knn_accuracies, pca_codes
from aejax.evaluation.stability import noisy_codes, unchanged
from aejax.figures.codes import code_maps
from aejax.judging.classifier import train_classifier
from aejax.models import Model
from aejax.nets.pooled import coarse_sides
from aejax.runs import directory as files
from aejax.runs.families import AutoencoderConfig, curves, latent, reconstructions
from aejax.runs.run import Run
from aejax.settings import setting
from aejax.streams import seed_stream
from aejax.types import Spec

CHANNELS = (16, 8, 8)
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)  # noise over the codes' deviation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AutoencoderConfig):
    """Train the convolutional autoencoder, or use a trained one (evaluate, encode, ...)."""

    name: ClassVar[str] = "conv_autoencoder"

    epochs: int = 25
    """Passes over the training images."""
    latent_dim: int | None = setting(None, at_least=1)
    """Dimensions of a dense code after the convolutions. Default: the code is their maps."""

    def model(self, spec: Spec) -> Model:
        """The lesson's autoencoder, with a dense code if asked."""
        pair = nets.pooled_pair(spec["x"].shape, CHANNELS, dense=self.latent_dim is not None)
        return models.autoencoder(*pair, likelihoods.bernoulli(), self.latent_dim)

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """What the code knows of the class, beside PCA's of its size, and what noise leaves."""
        codes, test_codes = run.encode(train["x"][:10_000]), run.encode(test["x"][:10_000])
        pca, test_pca, _ = pca_codes(train["x"][:10_000], test["x"][:10_000], codes.shape[1])
        found = knn_accuracies({"": (codes, test_codes), "_of_pca": (pca, test_pca)}, train, test)
        return found | noise_bearing(run, test_codes, train, test) if train.labelled else found

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, the code, what codes anywhere and under noise decode to, curves."""
        yield "reconstructions", reconstructions(run, test)
        images = figures.first_of_each_class(test, 20)
        yield code_figure(run, test, images[:10:2])
        codes = run.encode(test["x"][:10_000])
        key, noise_key = jax.random.split(seed_stream(self.seed, "pictures"))
        low, high = codes.min(axis=0), codes.max(axis=0)
        anywhere = low + (high - low) * np.asarray(jax.random.uniform(key, (40, len(low))))
        yield "random_codes", figures.image_grid(run.decode(anywhere), columns=10)
        yield "noise", with_noise(run, images[::2], codes.std(axis=0), noise_key)
        if test.labelled:
            found = json.loads((run.workdir / files.RESULTS).read_text())
            kept = [found[f"unchanged_at_{scale:g}"] for scale in SCALES]
            yield "stability", figures.stability(SCALES, kept)
        yield from curves(run, "reconstruction")


def code_figure(run: Run, test: Dataset, images: np.ndarray) -> tuple[str, Figure]:
    """The maps that are the code of some images, or the dense codes in the plane."""
    if getattr(run.config, "latent_dim", None) is not None:
        return "latent", latent(run, test)
    maps = run.encode(images)
    sides = coarse_sides(run.spec["x"].shape, len(CHANNELS))
    return "code_maps", code_maps(images, maps.reshape(len(maps), *sides, CHANNELS[-1]))


def noise_bearing(run: Run, codes: np.ndarray, train: Dataset, test: Dataset) -> dict[str, float]:
    """How many test codes `[N, D]` still decode to their class under noise, by a classifier."""
    classifier = train_classifier(train)
    key = seed_stream(run.config.seed, "results")
    kept = unchanged(run.decode, classifier.classify, codes[:1000], key, SCALES)
    recognised = classifier.classify(run.decode(codes)) == test.labels[: len(codes)]
    return {
        "classifier_accuracy": classifier.accuracy(test),
        "classifier_accuracy_on_reconstructions": float(np.mean(recognised)),
    } | {f"unchanged_at_{scale:g}": float(share) for scale, share in zip(SCALES, kept, strict=True)}


def with_noise(run: Run, images: np.ndarray, sigma: np.ndarray, key: jax.Array) -> Figure:
    """Images, and the decodings of their codes under more and more noise, a row a scale."""
    scales = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
    rungs = noisy_codes(key, run.encode(images), sigma, scales)
    rows = {
        f"noise {scale:g} sd": run.decode(rung) for scale, rung in zip(scales, rungs, strict=True)
    }
    return figures.named_rows({"image": images} | rows)


if __name__ == "__main__":
    main(Config)
