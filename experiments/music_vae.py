"""MusicVAE: melodies through a code (Roberts et al. 2018, arXiv 1803.05428).

A bidirectional LSTM reads a melody, sixteenth by sixteenth, into a Gaussian code; an LSTM that is
given the code and the tokens before writes it: `--net flat` the whole, `--net hierarchical` bar by
bar after the plans of a conductor. Several tracks `[R, T]` have a writer each and share the plans;
what `--conditions` names, such as chords, is given to reader and writers. A tune is heard in
another key at every step of training.

Command:   python experiments/music_vae.py --dataset melodies
           python experiments/music_vae.py --dataset melodies16 --net hierarchical
Expected:  results.json has its accuracies, of drawn tokens too, beside those of guesses
Cost:      a step of 512 windows of two bars takes about six seconds of a core
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from matplotlib.figure import Figure

from aejax import figures, models
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.evaluation.sequences import read, read_results
from aejax.evaluation.token_guesses import guess_results
from aejax.models import Model
from aejax.music.playing import leave_music
from aejax.music.tokens import TOKENS
from aejax.nets.sequences import BidirectionalEncoder, Conductor
from aejax.nets.writers import SequenceDecoder
from aejax.objectives import Objective, SequenceElbo, Transposed
from aejax.runs.families import VaeConfig, curves
from aejax.runs.idle_flags import Conditions, With
from aejax.runs.run import Run
from aejax.settings import setting
from aejax.streams import seed_stream
from aejax.types import Spec

MEASURED = 2000  # test melodies whose tokens are drawn
SHOWN = 6  # melodies in a picture
HEARD = 20  # melodies in a file of sound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VaeConfig):
    """Train a variational autoencoder of melodies, or use a trained one."""

    name: ClassVar[str] = "music_vae"
    kinds: ClassVar[Mapping[str, Mapping[str, type]]] = {
        "objective": {SequenceElbo.name: SequenceElbo}
    }
    acts: ClassVar[Conditions] = {
        **VaeConfig.acts,
        "conductor_width": With("net", ("hierarchical",)),
    }

    dataset: str = "fiddle_tunes"
    """Tokens [N, T], or [N, R, T] of R tracks: fiddle_tunes, or an .npz file."""
    epochs: int = setting(30, at_least=1, resumable=True)
    """Passes over the training melodies."""
    batch_size: int = setting(128, at_least=1)
    """Melodies a step."""
    clip_norm: float | None = setting(1.0, above=0)
    """Largest norm of a gradient, to which a larger one is scaled down."""
    objective: Objective = dataclasses.field(default=SequenceElbo())
    """What is minimised."""
    net: Literal["flat", "hierarchical"] = "flat"
    """A decoder of the whole, or one of bars after a conductor's plans."""
    latent_dim: int = setting(128, at_least=1)
    """Dimensions of the code."""
    encoder_width: int = setting(256, at_least=1)
    """Units of the encoder each way."""
    decoder_width: int = setting(256, at_least=1)
    """Units of a layer of the decoder."""
    layers: int = setting(2, at_least=1)
    """Layers of the decoder."""
    conductor_width: int = setting(256, at_least=1)
    """Units of the conductor (--net hierarchical)."""
    bar: int = setting(16, at_least=1)
    """Steps of a bar."""
    vocabulary: int = setting(TOKENS, at_least=2)
    """Tokens are 0, hold, 1, off, and pitches up to one less than this."""
    tempo: float = setting(120.0, above=0, resumable=True)
    """Quarters a minute at which melodies are heard."""
    transpose: int = setting(5, at_least=0)
    """Semitones, at most, by which a melody is moved up or down afresh at every training step;
    conditions of 12 numbers, which are taken for sets of pitch classes, move along."""

    def model(self, spec: Spec) -> Model:
        """The recurrent pair about a Gaussian code."""
        *tracks, steps = shape = spec["x"].shape
        conductor = None
        if self.net == "hierarchical":
            conductor = Conductor(steps // self.bar, self.conductor_width)
        encoder = BidirectionalEncoder(self.vocabulary, self.encoder_width)
        count = tracks[0] if tracks else 1
        decoder = SequenceDecoder(
            self.vocabulary, count, self.decoder_width, self.layers, conductor
        )
        sizes = {name: spec[name].shape[-1] for name in self.conditions}
        return models.sequence_vae(encoder, decoder, self.latent_dim, shape, tuple(sizes.items()))

    def criterion(self, spec: Spec) -> Objective:
        """The objective, of melodies in other keys if asked."""
        if not self.transpose:
            return self.objective
        classes = tuple(name for name in self.conditions if spec[name].shape[-1] == 12)
        return Transposed(objective=self.objective, most=self.transpose, pitch_classes=classes)

    def check(self) -> None:
        """Raises a `ValueError` for what recurrent nets are not computed by."""
        if self.precision != "float32" or self.remat:
            raise ValueError("--precision and --remat are not for recurrent nets: leave them out")

    def check_examples(self, data: Dataset) -> None:
        """Raises a `ValueError` for what are no bars of tokens of the vocabulary."""
        x = data["x"]
        if x.dtype != np.int32 or x.ndim not in (2, 3):
            raise ValueError(f"has x {x.dtype}{list(x.shape)}: needs integer tokens [N, T]")
        if not 0 <= x.min() <= x.max() < self.vocabulary:
            raise ValueError(f"has tokens {x.min()} to {x.max()}: needs a --vocabulary above them")
        if x.shape[-1] % self.bar:
            raise ValueError(f"has {x.shape[-1]} steps: needs a --bar that divides them")
        for name in self.conditions:
            if data[name].ndim != 3 or x.shape[-1] % data[name].shape[1]:
                raise ValueError(
                    f"has {name} {list(data[name].shape)}: needs [N, S, C] for an S that divides "
                    f"{x.shape[-1]} steps"
                )

    def headline(self, metrics: dict[str, float]) -> str:
        """The ELBO and its parts, and how many tokens are right."""
        return (
            f"{super().headline(metrics)}; right tokens {metrics['accuracy']:.3f}, of others than "
            f"hold {metrics['accuracy_non_hold']:.3f}; KL {metrics['kl_bits']:.1f} bits"
        )

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """Accuracies, teacher-forced and free, of the model, and of guesses without one."""
        test = test.first(MEASURED)
        key = seed_stream(self.seed, "results")
        found = read(run.recipe.model, run.variables, test, key)
        guesses = guess_results(train["x"], test["x"], self.vocabulary, self.bar, self.latent_dim)
        return read_results(found, test["x"], self.bar) | guesses

    def exhibit(self, path: Path, rows: Mapping[str, np.ndarray]) -> Iterator[Path]:
        """Piano rolls, MIDI files and sound; pairs are heard one after the other."""
        picture = path.with_name(f"{path.name}.png")
        drawn = {name: x[:SHOWN] for name, x in rows.items()}
        figures.piano_rolls(drawn).savefig(picture, dpi=150)
        yield picture
        heard = np.stack([x[:HEARD] for x in rows.values()], axis=1)
        yield from leave_music(path, heard.reshape(-1, *heard.shape[2:]), self.tempo)

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Piano rolls of reconstructions and of samples, the codes in the plane, the curves."""
        some = test.rows(np.linspace(0, len(test) - 1, SHOWN).astype(int))
        rolls = {"tune": some["x"], "reconstruction": run.reconstruct(dict(some.items()))}
        yield "reconstructions", figures.piano_rolls(rolls)
        samples = run.sample(seed_stream(self.seed, "pictures"), 3 * SHOWN)
        rows = dict(zip("abc", np.split(samples, 3), strict=True))
        yield "samples", figures.piano_rolls(rows)
        yield from curves(run, "loss", "reconstruction", "kl")
        if run.history:
            names = ["accuracy", "accuracy_non_hold"]
            yield "accuracy", figures.curves(run.history, names, "share of tokens")


if __name__ == "__main__":
    main(Config)
