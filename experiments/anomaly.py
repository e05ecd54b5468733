"""Anomalies by reconstruction error: train on all classes but one, find that one.

The test images of the class that training did not show are to score above the others': by how
badly an autoencoder, a VAE (An & Cho 2015) or PCA restores them, beside two that learn nothing,
the mean image and the nearest training image. All are scored alike, by squared error and by
cross-entropy; the latter holds an image's own entropy, which is none of the model's doing. The
VAE's -ELBO is cross-entropy plus KL.

The size of each model's code is chosen for every held-out class without it: the size that finds
the other classes best, each held out in turn, among a fifth of the training images.

Command:   python experiments/anomaly.py
           python experiments/anomaly.py --classes 1 8 --latent-dim 8
Expected:  see RESULTS.md; the nearest image is a strong opponent, and a class of few strokes, the
           digit 1, scores low by cross-entropy however it is restored
Cost:      a quarter of an hour on two cores, most of it to choose sizes; with --latent-dim two
           minutes a seed
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from aejax import figures
from aejax.cli.flags import one_line_errors, parse
from aejax.data.dataset import Dataset, as_float
from aejax.errors import UsageError
from aejax.evaluation.anomaly import (
    auroc,
    cross_entropy,
    mean_image,
    nearest_image,
    negative_elbo,
    pca_restored,
    squared_error,
    without_class,
)
from aejax.experiments.embedding import Training, autoencoder, check_dimensions, vae
from aejax.runs import seed_table
from aejax.runs.seed_table import SeedTable
from aejax.streams import seed_stream
from aejax.types import Variables

Scores = dict[str, np.ndarray]  # "METHOD, ERROR" -> [N]
# (flags, size of the code, normal images, images to score [N, H, W, C]) -> scores
Method = Callable[[Training, int, Dataset, np.ndarray], Scores]
Sizes = dict[str, int]  # method -> the size of its code
SIZES = (4, 8, 16, 32)
ERRORS = {"squared error": squared_error, "cross-entropy": cross_entropy}
CHOSEN_BY = "squared error"
SHOWN = "autoencoder, squared error"  # the score whose highest images are drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Training):
    """Hold each class out in turn, and find its test images by how badly they are restored."""

    epochs: int = 20
    """Passes over the training images."""
    classes: tuple[int, ...] = ()
    """Labels to hold out, one at a time. Default: all."""
    latent_dim: int | None = None
    """Dimensions of all codes, PCA's too. Default: of 4 to 32, chosen on training images."""
    workdir: str = "runs/anomaly"
    """Directory for the table and the pictures."""


def held_out(arguments: Arguments, train: Dataset, test: Dataset) -> list[int]:
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


def errors(method: str, images: np.ndarray, restored: Any) -> Scores:
    """What is wrong with uint8 images `[N, H, W, C]` as a method restores them, by every error."""
    return {
        f"{method}, {name}": error(images, np.asarray(restored)) for name, error in ERRORS.items()
    }


def by_autoencoder(training: Training, size: int, normal: Dataset, images: np.ndarray) -> Scores:
    """The errors of an autoencoder trained on the normal images."""
    model, variables = autoencoder(training, size, normal)

    @jax.jit
    def restored(variables: Variables, images: jax.Array) -> jax.Array:
        bound = model.bind(variables)
        return bound.decode(bound.posterior({"x": as_float(images)}).mean)

    return errors("autoencoder", images, restored(variables, images))


def by_vae(training: Training, size: int, normal: Dataset, images: np.ndarray) -> Scores:
    """The errors of a VAE trained on the normal images at the posterior's mean, and its -ELBO."""
    model, variables = vae(training, size, normal)

    @jax.jit
    def scored(
        variables: Variables, images: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        bound, batch = model.bind(variables), {"x": as_float(images)}
        return bound.decode(bound.posterior(batch).mean), negative_elbo(key, bound, batch)

    restored, scores = scored(variables, images, seed_stream(training.seed, "results"))
    return errors("VAE", images, restored) | {"VAE, -ELBO": np.asarray(scores)}


def by_pca(training: Training, size: int, normal: Dataset, images: np.ndarray) -> Scores:
    """The errors of PCA of the normal images."""
    return errors("PCA", images, pca_restored(normal["x"][:10_000], images, size))


MODELS: dict[str, Method] = {"autoencoder": by_autoencoder, "VAE": by_vae, "PCA": by_pca}


def found(scores: Scores, labels: np.ndarray, label: int) -> dict[str, float]:
    """How well each score tells the images of a label, by AUROC."""
    return {name: auroc(score, labels == label) for name, score in scores.items()}


def by_size(arguments: Arguments, train: Dataset, labels: list[int]) -> dict[str, Any]:
    """Model -> size -> label -> AUROC of the label among a fifth of the training images."""
    order = jax.random.permutation(seed_stream(arguments.seed, "data"), len(train))
    fifth, rest = (train.rows(part) for part in np.split(np.asarray(order), [len(train) // 5]))
    table: dict[str, Any] = {}
    for name, method in MODELS.items():
        for size in SIZES:
            table.setdefault(name, {})[size] = {}
            for label in labels:
                scores = method(arguments, size, without_class(rest, label), fifth["x"])
                row = found(scores, fifth.labels, label)
                table[name][size][label] = row[f"{name}, {CHOSEN_BY}"]
    return table


def chosen(table: dict[str, Any], label: int) -> Sizes:
    """The size of each model's code that finds the other classes best, from `by_size`'s table."""

    def mean(of_labels: dict[int, float]) -> float:
        return float(np.mean([value for other, value in of_labels.items() if other != label]))

    return {name: max(sizes, key=lambda s: mean(sizes[s])) for name, sizes in table.items()}


def sizes_of(arguments: Arguments, train: Dataset, labels: list[int]) -> dict[int, Sizes]:
    """Label -> the size of each model's code while it is held out: as given, or chosen."""
    given = arguments.latent_dim
    check_dimensions("--latent-dim", SIZES if given is None else (given,), train)
    if given is not None:
        return {label: dict.fromkeys(MODELS, given) for label in labels}
    table = by_size(arguments, train, np.unique(train.labels).tolist())
    sizes = {label: chosen(table, label) for label in labels}
    for name in MODELS:
        best = sorted({of_models[name] for of_models in sizes.values()})
        print(f"{name}: codes of {', '.join(map(str, best))}, chosen on training images")
    return sizes


def scores(arguments: Arguments, sizes: Sizes, normal: Dataset, images: np.ndarray) -> Scores:
    """Every method's scores of the images, after training on the normal ones."""
    scores: Scores = {}
    for name, method in MODELS.items():
        scores |= method(arguments, sizes[name], normal, images)
    scores |= errors("mean image", images, mean_image(normal["x"], images))
    return scores | errors("nearest image", images, nearest_image(normal["x"], images))


def class_name(data: Dataset, label: int) -> str:
    """The name of a class, or its label."""
    return data.label_names[label] if data.label_names else str(label)


def of_seed(
    arguments: Arguments, sizes: dict[int, Sizes], train: Dataset, test: Dataset
) -> tuple[dict[str, dict[str, float]], dict[str, Scores]]:
    """One seed's table, a row a class and a column a score, and the scores of the test images."""
    table, by_class = {}, {}
    for label, of_models in sizes.items():
        name = class_name(test, label)
        by_class[name] = scores(arguments, of_models, without_class(train, label), test["x"])
        table[name] = found(by_class[name], test.labels, label)
    return table, by_class


def most_anomalous(by_class: dict[str, Scores], test: Dataset) -> Figure:
    """For each class held out the test images of the highest scores, those of the class framed."""
    rows, marks = {}, {}
    for name, by_method in by_class.items():
        highest = np.argsort(-by_method[SHOWN], kind="stable")[:15]
        rows[f"without {name}"] = test["x"][highest] / np.float32(255)
        names = [class_name(test, label) for label in test.labels[highest]]
        marks[f"without {name}"] = np.array(names) == name
    return figures.marked_rows(rows, marks)


def pictures(table: SeedTable) -> Iterator[tuple[str, Figure]]:
    """The AUROC of every class, a picture an error."""
    for error in ERRORS:
        columns = [c for c in table["mean"] if c.endswith(error) or c == "VAE, -ELBO"]
        methods = {c.removesuffix(f", {error}"): [r[c] for r in table.values()] for c in columns}
        label = f"AUROC by {error}"
        yield f"auroc_{error.replace(' ', '_')}", figures.dots(methods, list(table), label, 0.5)


def main() -> None:
    """Parses the flags, trains, and leaves the table and the pictures."""
    with one_line_errors("anomaly.py"):
        arguments = parse(Arguments, "anomaly.py", sys.argv[1:])
        train, test = arguments.load()
        labels = held_out(arguments, train, test)
        sizes = sizes_of(arguments, train, labels)
        every = arguments.each_seed()
        tables, by_class = zip(*(of_seed(one, sizes, train, test) for one in every), strict=True)
        table = seed_table.over_seeds(tables)
        table["mean"] = seed_table.column_means(table)
        print("\n".join(seed_table.text(table, "held out")))
        workdir = Path(arguments.workdir)
        seed_table.leave(workdir, "anomaly.py", arguments, [one.seed for one in every], table)
        for name, picture in pictures(table):
            picture.savefig(workdir / f"{name}.png", dpi=150)
        most_anomalous(by_class[0], test).savefig(workdir / "most_anomalous.png", dpi=150)
        print(f"{workdir}/: table.json and pictures")


if __name__ == "__main__":
    main()
