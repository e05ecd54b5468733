"""What an experiment is made of, as plain functions."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import jax
import optax

from aejax.data.dataset import Dataset
from aejax.generative import LatentVariableModel
from aejax.training.step import TrainStep, make_train_step
from aejax.types import LossFn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from aejax.runs.run import Run


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The functions that a run is made of; `Config.build` returns one.

    Attributes:
        init: (key, images `[B, H, W, C]`) -> params.
        loss_fn: see `aejax.objectives`.
        optimizer: an Optax transformation.
        encode: (params, images `[B, H, W, C]`) -> codes `[B, D]`.
        decode: (params, codes `[B, D]`) -> images `[B, H, W, C]`.
        sample_prior: (params, key, n) -> codes `[n, D]`, or None for a model without a prior.
        figures: (run, test data) -> the named figures that a run leaves.
        headline: test metrics -> the line that ends a run.
        score: metrics -> the number, the lower the better, by which checkpoints and members are
            ranked on validation images; it must mean the same all along the training.
        results: (run, training data, test data) -> further numbers, by name, which a finished run
            prints and leaves in `results.json` before it draws its figures.
        epoch_figures: (params, test data) -> named figures that every epoch leaves, in
            `figures/epochs/NAME_EPOCH.png`.
        classes: how many classes the labels must be of, where the model is given them.
        ema_decay: of the parameters' moving average, or None to keep none.
        accumulate: into how many parts a batch is shared out for its gradient, as flags ask.
        train_step: in place of the step that `loss_fn` and `optimizer` make, for models of several
            losses; `optimizer.init` still makes the optimiser's state.
        extra: the state's `extra` before the first step, where the loss keeps something there.
        latent_variable_model: of a variational autoencoder, for what looks at its likelihood.
        observe: what evaluations make of a data set first, where the loss draws its images anew.
        dequantized: whether the loss draws the pixels anew within their levels, as what looks at
            the likelihood has to.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    encode: Callable[[Any, jax.Array], jax.Array]
    decode: Callable[[Any, jax.Array], jax.Array]
    sample_prior: Callable[[Any, jax.Array, int], jax.Array] | None
    figures: "Callable[[Run, Dataset], Iterator[tuple[str, Figure]]]"
    headline: Callable[[dict[str, float]], str]
    score: Callable[[Mapping[str, float]], float] = itemgetter("loss")
    results: "Callable[[Run, Dataset, Dataset], dict[str, float]] | None" = None
    epoch_figures: "Callable[[Any, Dataset], Iterator[tuple[str, Figure]]] | None" = None
    classes: int | None = None
    ema_decay: float | None = None
    accumulate: int = 1
    train_step: TrainStep | None = None
    extra: Any = None
    latent_variable_model: LatentVariableModel | None = None
    observe: Callable[[Dataset], Dataset] = lambda data: data
    dequantized: bool = False

    def step(self) -> TrainStep:
        """The update: (state, batch) -> (state, metrics)."""
        if self.train_step is not None:
            return self.train_step
        decay = 0.0 if self.ema_decay is None else self.ema_decay
        return make_train_step(
            self.loss_fn, self.optimizer, ema_decay=decay, accumulate=self.accumulate
        )
