"""Anomalies by reconstruction error: train on all classes but one, find that one.

The test images of the class that training did not show are to score above the others': by an
autoencoder's -log-likelihood, a VAE's (An & Cho 2015) and its -ELBO, beside PCA's squared error
and the distance from the mean image. A class of few strokes costs few nats however new it is:
the digit 1 scores far below chance by every method, so no such score finds it.

Command:   python experiments/anomaly.py
           python experiments/anomaly.py --classes 1 8
Expected:  mean AUROC 0.75 for the autoencoder, 0.72 for the VAE, 0.71 for PCA; digits 0 and 2
           above 0.9, 9 below 0.61, 1 at 0.16; -ELBO no better than the error
Cost:      a minute and a half on two cores
"""

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aejax import figures
from aejax.data.dataset import ImageDataset, as_float
from aejax.errors import UsageError
from aejax.evaluation.anomaly import (
    auroc,
    distance_to_mean,
    negative_elbo,
    pca_error,
    without_class,
)
from aejax.experiments.embedding import Training, autoencoder, check_dimensions, vae
from aejax.likelihoods import bernoulli_log_prob
from aejax.models import ModelFunctions
from aejax.runs import directory as files
from aejax.runs.flags import one_line_errors, parse

Scores = dict[str, np.ndarray]
Table = dict[str, dict[str, float]]
SHOWN = "VAE, -ELBO"  # the score whose highest images are drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Training):
    """Hold each class out in turn, and find its test images by how badly they are restored."""

    epochs: int = 20
    """Passes over the training images."""
    classes: tuple[int, ...] = ()
    """Labels to hold out, one at a time. Default: all."""
    latent_dim: int = 8
    """Dimensions of the codes, PCA's too."""
    workdir: str = "runs/anomaly"
    """Directory for the table and the pictures."""


def held_out(arguments: Arguments, train: ImageDataset, test: ImageDataset) -> list[int]:
    """The labels to hold out.

    Raises:
        UsageError: for a label that either split lacks, or if only one class is there.
    """
    known = np.intersect1d(train.labels, test.labels).tolist()
    if len(known) < 2:
        raise UsageError(f"--dataset {arguments.dataset} has one class: give one that has more")
    for label in arguments.classes:
        if label not in known:
            raise UsageError(
                f"--classes {label} is no class of {arguments.dataset}: "
                f"give labels within {known[0]} and {known[-1]}"
            )
    return sorted(set(arguments.classes)) or known


@partial(jax.jit, static_argnames="model")
def autoencoder_error(model: ModelFunctions, params: Any, images: jax.Array) -> jax.Array:
    """-log p(x|z) at the code: uint8 `[N, H, W, C]` -> `[N]`, nats."""
    x = as_float(images)
    return -bernoulli_log_prob(model.decode(params, model.encode(params, x)), x)


@partial(jax.jit, static_argnames="model")
def vae_errors(
    model: ModelFunctions, params: Any, images: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """-log p(x|z) at the posterior's mean, and -ELBO: uint8 `[N, H, W, C]` -> `[N]` each, nats."""
    x = as_float(images)
    posterior = model.encode(params, x)
    error = -bernoulli_log_prob(model.decode(params, posterior.mean), x)
    bound = negative_elbo(key, posterior, lambda z: model.decode(params, z), bernoulli_log_prob, x)
    return error, bound


def scores(arguments: Arguments, normal: ImageDataset, test: ImageDataset) -> Scores:
    """Every method's score of the test images, `[N]` each, after training on the normal classes."""
    size = arguments.latent_dim
    found = {"autoencoder": autoencoder_error(*autoencoder(arguments, size, normal), test.images)}
    found["VAE, error"], found["VAE, -ELBO"] = vae_errors(
        *vae(arguments, size, normal), test.images, jax.random.key(arguments.seed)
    )
    found["PCA"] = pca_error(normal.images[:10_000], test.images, size)
    found["mean image"] = distance_to_mean(normal.images, test.images)
    return {name: np.asarray(score) for name, score in found.items()}


def lines(table: Table) -> list[str]:
    """The table as text: a row a held-out class, their mean last."""
    methods = list(next(iter(table.values())))
    text = ["AUROC, held out".ljust(18) + "".join(f"{method:>14}" for method in methods)]
    for name, row in table.items():
        text.append(name.ljust(18) + "".join(f"{row[method]:14.3f}" for method in methods))
    mean = [np.mean([row[method] for row in table.values()]) for method in methods]
    return [*text, "mean".ljust(18) + "".join(f"{value:14.3f}" for value in mean)]


def main() -> None:
    """Parses the flags, trains, and leaves the table and the pictures."""
    with one_line_errors("anomaly.py"):
        arguments = parse(Arguments, "anomaly.py", sys.argv[1:])
        train, test = arguments.load()
        check_dimensions("--latent-dim", (arguments.latent_dim,), train)
        table: Table = {}
        rows, marks = {}, {}
        for label in held_out(arguments, train, test):
            name = test.label_names[label] if test.label_names else str(label)
            by_method = scores(arguments, without_class(train, label), test)
            anomalous = test.labels == label
            table[name] = {way: auroc(score, anomalous) for way, score in by_method.items()}
            highest = np.argsort(-by_method[SHOWN], kind="stable")[:15]
            rows[f"without {name}"] = test.images[highest] / np.float32(255)
            marks[f"without {name}"] = anomalous[highest]
        print("\n".join(lines(table)))
        workdir = Path(arguments.workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_json(workdir / "table.json", table)
        methods = {way: [row[way] for row in table.values()] for way in next(iter(table.values()))}
        picture = figures.dots(methods, list(table), "AUROC of the held-out class", chance=0.5)
        picture.savefig(workdir / "auroc.png", dpi=150)
        figures.marked_rows(rows, marks).savefig(workdir / "most_anomalous.png", dpi=150)
        print(f"{workdir}/: table.json, auroc.png, most_anomalous.png")


if __name__ == "__main__":
    main()
