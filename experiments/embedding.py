"""Codes as embeddings: an autoencoder's and a VAE's beside PCA's of the same sizes.

What a code keeps of the class, by a linear probe and by its nearest neighbours, and of the image,
by the squared error of its reconstruction (Hinton & Salakhutdinov 2006 compare with PCA so).

Command:   python experiments/embedding.py
           python experiments/embedding.py --dimensions 2 4 8 16 32 64
Expected:  the autoencoder is ahead of PCA at 2 and 8 dimensions, the VAE at 8; at 32 PCA's
           neighbours are as good, and it restores better than the VAE, whose KL lets few
           dimensions carry anything
Cost:      under a minute on two cores
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets
from aejax.cli.flags import one_line_errors, parse
from aejax.data.dataset import Dataset, as_float
from aejax.data.load import load_dataset
from aejax.errors import UsageError
from aejax.evaluation.probes import knn_accuracy, linear_probe_accuracy, pca_codes
from aejax.models import Model
from aejax.objectives import Elbo, Objective, Reconstruction, make_loss
from aejax.runs import seed_table
from aejax.runs.seed_table import SeedTable
from aejax.streams import seed_stream
from aejax.training.fit import fit
from aejax.training.loop import check_batch_size
from aejax.training.state import TrainState
from aejax.types import Variables

COLUMNS = {
    "linear_probe": "linear probe",
    "knn": "5 nearest neighbours",
    "squared_error": "squared error a pixel",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How the autoencoder and the VAE are trained: the same dense nets, Bernoulli pixels, Adam."""

    dataset: str = "mnist5k"
    """Any TFDS data set with labels and images of one size; mnist5k is built in."""
    data_dir: str | None = None
    """TFDS data directory. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    hidden: tuple[int, ...] = (256, 128)
    """Widths of the dense layers, from the image inwards."""
    epochs: int = 40
    """Passes over the training images."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    seed: int = 0
    """Seed of parameters, shuffling and noise."""
    seeds: int = 1
    """How many seeds, from --seed on; the table shows their mean and range."""

    def each_seed(self) -> "list[Self]":
        """These flags for each of the seeds alone."""
        return [dataclasses.replace(self, seed=self.seed + i, seeds=1) for i in range(self.seeds)]

    def load(self) -> tuple[Dataset, Dataset]:
        """The training and the test images, with labels.

        Raises:
            UsageError: for a flag whose value makes no sense, or a data set without labels.
        """
        if self.epochs < 1:
            raise UsageError(f"--epochs {self.epochs} is not positive")
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"--learning-rate {self.learning_rate} is not a positive number")
        if not all(width > 0 for width in self.hidden):
            raise UsageError(f"--hidden {self.hidden} has a width that is not positive")
        if self.seeds < 1:
            raise UsageError(f"--seeds {self.seeds} is not positive")
        for seed in (self.seed, self.seed + self.seeds - 1):
            seed_stream(seed, "parameters")  # refuses one that no key can be made of
        train, test = (load_dataset(self.dataset, s, self.data_dir) for s in ("train", "test"))
        check_batch_size(self.batch_size, len(train), 1)
        if not train.labelled:
            raise UsageError(f"--dataset {self.dataset} has no labels: give one that has")
        return train, test


def autoencoder(training: Training, latent_dim: int, data: Dataset) -> tuple[Model, Variables]:
    """A plain autoencoder trained on `data`: its functions and its variables."""
    pair = nets.mlp_pair(data.spec["x"].shape, training.hidden)
    model = models.autoencoder(*pair, likelihoods.bernoulli(), latent_dim)
    return model, fitted(training, model, Reconstruction(), data)


def vae(training: Training, latent_dim: int, data: Dataset) -> tuple[Model, Variables]:
    """A variational autoencoder trained on `data`: its functions and its variables."""
    pair = nets.mlp_pair(data.spec["x"].shape, training.hidden)
    model = models.vae(*pair, latent_dim, likelihoods.bernoulli())
    return model, fitted(training, model, Elbo(), data)


def fitted(training: Training, model: Model, objective: Objective, data: Dataset) -> Variables:
    """The model's variables after training on `data`."""
    optimizer = optax.adam(training.learning_rate)
    blank = {"x": jnp.zeros((1, *data.spec["x"].shape))}
    params = jax.jit(model.init)(seed_stream(training.seed, "parameters"), blank)["params"]
    state, _ = fit(
        TrainState.create(params, optimizer, seed_stream(training.seed, "state")),
        make_loss(model, objective),
        optimizer,
        data,
        epochs=training.epochs,
        batch_size=training.batch_size,
    )
    return {"params": state.params}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Training):
    """Compare the codes of an autoencoder, a VAE and PCA."""

    dimensions: tuple[int, ...] = (2, 8, 32)
    """Sizes of the codes."""
    workdir: str = "runs/embedding"
    """Directory for the table and the picture."""


def check_dimensions(flag: str, dimensions: tuple[int, ...], data: Dataset) -> None:
    """Raises a `UsageError` for a code's size that neither a model nor PCA can have."""
    most = min(len(data), data["x"][0].size)
    for size in dimensions:
        if not 1 <= size <= most:
            raise UsageError(f"{flag} {size} is not within 1 and {most}, what PCA can have")
    if not dimensions or len(set(dimensions)) < len(dimensions):
        raise UsageError(f"{flag} {dimensions} must be one or more sizes, each once")


# (codes [N, D], test codes [M, D], restored test images [M, H, W, C] in [0, 1])
Embedded = tuple[np.ndarray, np.ndarray, np.ndarray]


def by_model(trained: tuple[Model, Variables], train: Dataset, test: Dataset) -> Embedded:
    """The codes of a trained model, and its reconstructions."""
    model, variables = trained
    encode = jax.jit(lambda x: model.posterior(variables, {"x": as_float(x)}).mean)
    codes, test_codes = encode(train["x"]), encode(test["x"])
    restored = model.decode(variables, test_codes)
    return np.asarray(codes), np.asarray(test_codes), np.asarray(restored)


def by_pca(dimensions: int, train: Dataset, test: Dataset) -> Embedded:
    """PCA's codes and reconstructions; clipped to [0, 1], where the models' are by construction."""
    codes, test_codes, restored = pca_codes(train["x"], test["x"], dimensions)
    return codes, test_codes, np.clip(restored, 0, 1)


def measure(embedded: Embedded, train: Dataset, test: Dataset) -> dict[str, float]:
    """A row of the table."""
    codes, test_codes, restored = embedded
    splits = codes, train.labels, test_codes, test.labels
    return {
        "linear_probe": linear_probe_accuracy(*splits),
        "knn": knn_accuracy(*splits),
        "squared_error": float(np.mean((restored - test["x"] / np.float32(255)) ** 2)),
    }


def compare(arguments: Arguments, train: Dataset, test: Dataset) -> dict[str, dict[str, float]]:
    """The table of one seed, a row a method and size; probes see 10,000 images of each split."""
    some, test = train.first(10_000), test.first(10_000)
    ways: dict[str, Callable[[int], Embedded]] = {
        "PCA": lambda size: by_pca(size, some, test),
        "autoencoder": lambda size: by_model(autoencoder(arguments, size, train), some, test),
        "VAE": lambda size: by_model(vae(arguments, size, train), some, test),
    }
    return {
        row_name(name, size): measure(way(size), some, test)
        for size in arguments.dimensions
        for name, way in ways.items()
    }


def row_name(method: str, size: int) -> str:
    """The name of a table's row."""
    return f"{method}, {size}"


def picture(table: SeedTable, dimensions: tuple[int, ...]) -> Figure:
    """The accuracies over the size of the code, a line a method."""
    sizes = sorted(dimensions)
    methods = dict.fromkeys(name.rpartition(", ")[0] for name in table)
    panels = {
        f"accuracy, {COLUMNS[column]}": {
            method: [table[row_name(method, size)][column] for size in sizes] for method in methods
        }
        for column in ("linear_probe", "knn")
    }
    return figures.lines(panels, sizes, "dimensions of the code", logarithmic=True)


def main() -> None:
    """Parses the flags, trains, and leaves the table and the picture."""
    with one_line_errors("embedding.py"):
        arguments = parse(Arguments, "embedding.py", sys.argv[1:])
        train, test = arguments.load()
        check_dimensions("--dimensions", arguments.dimensions, train)
        every = arguments.each_seed()
        table = seed_table.over_seeds(compare(one, train, test) for one in every)
        print("\n".join(seed_table.text(table, "method, dimensions")))
        workdir = Path(arguments.workdir)
        seed_table.leave(workdir, "embedding.py", arguments, [one.seed for one in every], table)
        picture(table, arguments.dimensions).savefig(workdir / "embedding.png", dpi=150)
        print(f"{workdir}/: table.json, embedding.png")


if __name__ == "__main__":
    main()
