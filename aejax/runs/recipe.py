"""What a run is made of, built from its `Config`: the model, its loss and its step."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import optax

from aejax.errors import UsageError
from aejax.models.computed import computed
from aejax.models.model import Model
from aejax.objectives.objective import Objective, Training, make_loss
from aejax.runs.config import Config
from aejax.runs.optimisation import refuse_optimisation, wrapped_optimizer
from aejax.training.adversarial import Phase, make_phased_step, phased_loss, phased_optimizer
from aejax.training.step import TrainStep, make_train_step
from aejax.types import LossFn, Spec, WholeBatch


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The functions that a run is made of.

    Attributes:
        model: the model.
        objective: what is minimised, in this training.
        loss_fn: its loss.
        optimizer: an Optax transformation, whose `init` makes the optimiser's state.
        train_step: (state, batch) -> (state, metrics).
        ema: whether an average of the parameters is kept.
        parts: into how many parts, one after the other, a batch is shared out.
    """

    model: Model
    objective: Objective
    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    train_step: TrainStep
    ema: bool = False
    parts: int = 1

    @property
    def has_likelihood(self) -> bool:
        """Whether log p(x) can be estimated: of a VAE with a p(x|z) that is a density or a mass."""
        likelihood = self.model.likelihood
        normalised = likelihood is None or likelihood.normalised
        return self.objective.variational and normalised and not self.model.conditional


def build_recipe(config: Config, spec: Spec, train_examples: int) -> Recipe:
    """The recipe of a configuration, for examples of `spec`.

    Raises:
        UsageError: if a field's value does not fit.
    """
    try:
        return _built(config, spec, train_examples)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _built(config: Config, spec: Spec, train_examples: int) -> Recipe:
    steps = config.steps(train_examples)
    training = Training(steps, train_examples, config.batch_size)
    model, objective = _computed(config, spec), config.criterion(spec).during(training)
    phases = config.phases(model)
    if phases is not None:
        refuse_optimisation(config)
        return _phased(model, objective, phases)
    loss_fn = make_loss(model, objective)
    if config.accumulate > 1 and isinstance(loss_fn, WholeBatch):
        raise ValueError(
            f"--accumulate {config.accumulate} would train another objective, the loss of this one "
            "being no mean over the images: leave it out, or give a smaller --batch-size"
        )
    optimizer = wrapped_optimizer(
        config.optimizer(train_examples // config.batch_size), config, steps
    )
    step = make_train_step(
        loss_fn, optimizer, ema_decay=config.ema or 0.0, accumulate=config.accumulate
    )
    ema = config.ema is not None
    return Recipe(model, objective, loss_fn, optimizer, step, ema, config.accumulate)


def _computed(config: Config, spec: Spec) -> Model:
    """The model, computed as --precision and --remat ask."""
    model = config.model(spec)
    if config.precision == "float32" and not config.remat:
        return model
    dtype = {"float32": jnp.float32, "bf16": jnp.bfloat16}[config.precision]
    return computed(model, dtype, config.remat)


def _phased(model: Model, objective: Objective, phases: Mapping[str, Phase]) -> Recipe:
    """The recipe of a model of several losses, whose step takes them in turn."""
    step, optimizer = make_phased_step(phases), phased_optimizer(phases)
    return Recipe(model, objective, phased_loss(phases), optimizer, step)
