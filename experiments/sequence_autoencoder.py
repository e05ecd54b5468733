"""Sequence autoencoder: a recurrent net reads a sequence, another writes it from the last state.

Srivastava, Mansimov & Salakhutdinov 2015 (arXiv 1502.04681), section 2.2, with the code repeated at
every step as in Chollet 2016, "Building autoencoders in Keras", who gives it no data. Here an
image is read row by row, or a fiddle tune by its sixteenth notes.

Command:   python experiments/sequence_autoencoder.py
           pip install 'aejax[music]', then (one line)
           python experiments/sequence_autoencoder.py --dataset fiddle_tunes --latent-dim 8
           --batch-size 64 --learning-rate 6e-3 --epochs 20
Expected:  squared error a value, of the test set: rows 0.0167 (PCA 0.0270, the row before 0.0367).
           Tunes are tokens; of the likeliest ones (seed 0) 24.7% have the right pitch, and they are
           4.84 semitones off: PCA of the pitches has 25.0% and 2.02, the step before 34.9% and
           3.27. A decoder that does not see the tokens before writes poor tunes.
Cost:      a minute and a half on two busy cores, tunes three; they are parsed once, 40 seconds

The gradient's norm is not clipped: limited to 1, the same 12 epochs ended at 121.8 and not 112.2.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.evaluation.probes import pca_codes
from aejax.models import Model
from aejax.music.tokens import TOKENS, to_pitch
from aejax.nets.recurrent import recurrent_pair
from aejax.runs.families import AutoencoderConfig, curves, latent, reconstructions
from aejax.runs.run import Run
from aejax.settings import setting
from aejax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AutoencoderConfig):
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
    width: int = setting(128, at_least=1)
    """Units of the encoder and of the decoder."""
    latent_dim: int = setting(16, at_least=1)
    """Dimensions of the code."""
    likelihood: Literal["bernoulli", "gaussian_learned"] = "bernoulli"
    """p(x|z) of values: Bernoulli, or Gaussian of one learned scale. Tokens are categorical."""
    vocabulary: int = setting(TOKENS, at_least=2)
    """Tokens of a sequence of integers: 0 up to one less."""

    def model(self, spec: Spec) -> Model:
        """A recurrent encoder and decoder of T steps: of values, or of tokens."""
        shape, discrete = spec["x"].shape, np.issubdtype(spec["x"].dtype, np.integer)
        vocabulary = self.vocabulary if discrete else None
        encoder, decoder = recurrent_pair(shape, self.cell, self.width, vocabulary)
        if discrete:
            return models.autoencoder(encoder, decoder, likelihoods.tokens(), self.latent_dim)
        if self.likelihood == "gaussian_learned":
            decoder = nets.LearnedScale(decoder)
        p_x = {
            "bernoulli": likelihoods.bernoulli,
            "gaussian_learned": likelihoods.gaussian_learned,
        }[self.likelihood]()
        return models.autoencoder(encoder, decoder, p_x, self.latent_dim)

    def check_examples(self, data: Dataset) -> None:
        """Raises a `ValueError` for tokens that are not of the vocabulary."""
        if is_tokens(data) and not 0 <= data["x"].min() <= data["x"].max() < self.vocabulary:
            raise ValueError(
                f"has tokens {data['x'].min()} to {data['x'].max()}: give a --vocabulary above them"
            )

    def headline(self, metrics: dict[str, float]) -> str:
        """The error of a sequence and of a value."""
        per_value = metrics["reconstruction_per_pixel"]
        return f"reconstruction {metrics['reconstruction']:.2f} nats ({per_value:.5f} a value)"

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """Errors of the model and of the guesses, a value; of tunes in semitones.

        A `squared_error_over_best_guess` above 1 says that a guess beats the model.
        """
        some, test = train.first(10_000), test.first(10_000)
        codes = run.encode(test["x"])
        x, seen, own = (values_of(test, a) for a in (test["x"], some["x"], run.decode(codes)))
        plain = guesses(seen, x, codes.shape[1])
        found = {}
        for name, guess in ({"model": own} | plain).items():
            found[f"squared_error_{name}"] = float(np.mean((guess - x) ** 2))
            if is_tokens(test):
                found[f"semitones_{name}"] = float(np.sqrt(found[f"squared_error_{name}"]))
                found[f"right_pitch_{name}"] = float(np.mean(np.rint(guess) == x))
        best = min(found[f"squared_error_{name}"] for name in plain)
        return found | {"squared_error_over_best_guess": found["squared_error_model"] / best}

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, or tunes, the codes in the plane, curves."""
        if is_tokens(test):
            tunes = test["x"][np.linspace(0, len(test) - 1, 9).astype(int)]
            pitches = to_pitch(tunes), to_pitch(run.reconstruct(tunes))
            yield "reconstructions", figures.melodies(*pitches)
        else:
            yield "reconstructions", reconstructions(run, test)
        yield "latent", latent(run, test)
        yield from curves(run, "reconstruction")


def is_tokens(data: Dataset) -> bool:
    """Whether the sequences are of tokens: melodies, as Magenta numbers them."""
    return np.issubdtype(data["x"].dtype, np.integer) and data["x"].dtype != np.uint8


def values_of(data: Dataset, x: np.ndarray) -> np.ndarray:
    """Sequences in numbers that errors are taken of: MIDI pitches, or values in [0, 1].

    A rest has the pitch before it, at a tune's beginning the first one.
    """
    if is_tokens(data):
        pitch = to_pitch(x)
        first = np.argmax(pitch > 0, axis=1)[:, None]
        sounding = np.where(pitch > 0, np.arange(pitch.shape[1]), first)
        last = np.maximum.accumulate(sounding, axis=1)
        return np.take_along_axis(pitch, last, axis=1).astype(np.float32)
    return x / np.float32(255) if x.dtype == np.uint8 else x


def guesses(train: np.ndarray, test: np.ndarray, dimensions: int) -> dict[str, np.ndarray]:
    """Predictions of the test sequences without a network, by name, `[N, T, ...]`.

    `mean`: the training sequences' mean. `own_mean`: each sequence's own mean over time.
    `last_value`: each step as the step before it, the first step as the training mean. `pca`:
    `dimensions` principal components of the training sequences.

    Args:
        train: float32 `[M, T, ...]`.
        test: float32 `[N, T, ...]`.
        dimensions: those of the code; PCA has at most as many as the sequences have values.
    """
    mean = train.mean(axis=0, dtype=np.float32)
    first = np.broadcast_to(mean[:1], test[:, :1].shape)
    return {
        "mean": np.broadcast_to(mean, test.shape),
        "own_mean": np.broadcast_to(test.mean(axis=1, keepdims=True), test.shape),
        "last_value": np.concatenate([first, test[:, :-1]], axis=1),
        "pca": pca_codes(train, test, dimensions)[2],
    }


if __name__ == "__main__":
    main(Config)
