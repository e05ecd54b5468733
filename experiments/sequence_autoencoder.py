"""Sequence autoencoder: a recurrent net reads a sequence, another writes it from the last state.

Srivastava, Mansimov & Salakhutdinov 2015 (arXiv 1502.04681), section 2.2, with the code repeated at
every step as in Chollet 2016, "Building autoencoders in Keras", who gives it no data. Here an
image is read row by row, or a fiddle tune by its sixteenth notes.

Command:   python experiments/sequence_autoencoder.py
           pip install 'aejax[music]', then (one line)
           python experiments/sequence_autoencoder.py --dataset fiddle_tunes --latent-dim 8
           --likelihood gaussian_learned --batch-size 64 --learning-rate 6e-3 --epochs 20
Expected:  squared error a value, of the test set: rows 0.0167 (PCA 0.0270, the row before 0.0367).
           Tunes 2.09 semitones, where PCA has 2.02: the recurrent code is no better than a
           linear one, and the step before (3.27) has the exact pitch more often (35% to 23%).
Cost:      a minute and a half on two busy cores; the tunes are parsed once, 40 seconds

The gradient's norm is not clipped: limited to 1, the same 12 epochs ended at 121.8 and not 112.2.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets, objectives
from aejax.data.dataset import Dataset
from aejax.evaluation.probes import pca_codes
from aejax.nets.recurrent import CELLS, recurrent_pair
from aejax.runs.commands import main
from aejax.runs.config import Config as CommonConfig
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CommonConfig):
    """Train a recurrent autoencoder of sequences, or use a trained one."""

    name: ClassVar[str] = "sequence_autoencoder"

    epochs: int = 30
    """Passes over the training sequences."""
    batch_size: int = 32
    """Sequences a step."""
    learning_rate: float = 3e-3
    """Adam's learning rate."""
    cell: Literal["lstm", "gru"] = "lstm"
    """Long short-term memory, or gated recurrent units."""
    width: int = 128
    """Units of the encoder and of the decoder."""
    latent_dim: int = 16
    """Dimensions of the code."""
    likelihood: Literal["bernoulli", "gaussian_learned"] = "bernoulli"
    """p(x|z): Bernoulli, or Gaussian of one learned scale."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`, H steps of W C values."""
        self.check()
        encoder, decoder = map(self.computed, recurrent_pair(image_shape, self.cell, self.width))
        if self.likelihood == "gaussian_learned":
            decoder = nets.LearnedScale(decoder)
        p_x = getattr(likelihoods, self.likelihood)()
        model = models.functions(models.Autoencoder(encoder, decoder, self.latent_dim))
        return Recipe(
            init=model.init,
            loss_fn=objectives.autoencoder(model.apply, p_x.log_prob),
            optimizer=optax.adam(self.learning_rate),
            encode=model.encode,
            decode=lambda params, z: p_x.mean(model.decode(params, z)),
            sample_prior=None,
            figures=pictures,
            headline=lambda m: (
                f"reconstruction {m['reconstruction']:.2f} nats "
                f"({m['reconstruction_per_pixel']:.5f} a value)"
            ),
            results=results,
        )

    def check(self) -> None:
        """Raises a `ValueError` for the first field whose value makes no sense."""
        if self.cell not in CELLS:
            raise ValueError(f"--cell {self.cell} is unknown: give {' or '.join(CELLS)}")
        for flag, size in (("latent-dim", self.latent_dim), ("width", self.width)):
            if size < 1:
                raise ValueError(f"--{flag} {size} is not positive")


def guesses(train: np.ndarray, test: np.ndarray, dimensions: int) -> dict[str, np.ndarray]:
    """Predictions of the test sequences without a network, by name, `[N, H, W, C]` in [0, 1].

    `mean`: the training sequences' mean. `own_mean`: each sequence's own mean over time.
    `last_value`: each step as the step before it, the first step as the training mean. `pca`:
    `dimensions` principal components of the training sequences.

    Args:
        train: uint8 images `[M, H, W, C]`.
        test: uint8 images `[N, H, W, C]`.
        dimensions: those of the code; PCA has at most as many as the sequences have values.
    """
    x, mean = test / np.float32(255), train.mean(axis=0, dtype=np.float32) / 255
    first = np.broadcast_to(mean[:1], x[:, :1].shape)
    return {
        "mean": np.broadcast_to(mean, x.shape),
        "own_mean": np.broadcast_to(x.mean(axis=1, keepdims=True), x.shape),
        "last_value": np.concatenate([first, x[:, :-1]], axis=1),
        "pca": pca_codes(train, test, dimensions)[2],
    }


def results(run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
    """Errors of the model and of the guesses, a value; of tunes in semitones too.

    A `squared_error_over_best_guess` above 1 says that a guess beats the model.
    """
    images = test["x"][:10_000]
    codes = run.encode(images)
    plain = guesses(train["x"][:10_000], images, codes.shape[1])
    found = {}
    for name, guess in ({"model": run.decode(codes)} | plain).items():
        found[f"squared_error_{name}"] = float(np.mean((guess - images / np.float32(255)) ** 2))
        if is_tunes(run):
            found |= {f"{k}_{name}": v for k, v in pitch_errors(guess, images).items()}
    best = min(found[f"squared_error_{name}"] for name in plain)
    return found | {"squared_error_over_best_guess": found["squared_error_model"] / best}


def pitch_errors(guess: np.ndarray, tunes: np.ndarray) -> dict[str, float]:
    """Root mean square error in semitones, and the share of steps that round to the right pitch."""
    from aejax.data.builders.fiddle_tunes import to_pitch  # imports tensorflow_datasets

    pitch, truth = to_pitch(guess), to_pitch(tunes)
    return {
        "semitones": float(np.sqrt(np.mean((pitch - truth) ** 2))),
        "right_pitch": float(np.mean(np.rint(pitch) == np.rint(truth))),
    }


def is_tunes(run: Run) -> bool:
    """Whether the run's sequences are melodies."""
    return run.config.dataset.startswith("fiddle_tunes")


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    if is_tunes(run):
        from aejax.data.builders.fiddle_tunes import to_pitch  # imports tensorflow_datasets

        tunes = test["x"][np.linspace(0, len(test) - 1, 9).astype(int)]
        yield "reconstructions", figures.melodies(to_pitch(tunes), to_pitch(run.reconstruct(tunes)))
    else:
        images = figures.first_of_each_class(test, 20)
        yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    codes = run.encode(test["x"][:10_000])
    yield "latent", figures.latent_scatter(codes, test.labels[:10_000], test.label_names)
    if run.history:
        yield "curves", figures.curves(run.history, ("reconstruction",))


if __name__ == "__main__":
    main(Config)
