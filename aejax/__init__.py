"""aejax: autoencoders and variational autoencoders in pure, functional JAX.

Formulas, the step and the loop are imported at once; what needs a data set, a run directory or
matplotlib is imported when it is first used.
"""

from typing import TYPE_CHECKING

from aejax.bounds import iwae_bound
from aejax.divergences import gaussian_kl, gaussian_kl_between
from aejax.errors import DivergedError, UsageError
from aejax.latents import DiagonalGaussian, reparameterize, standard_normal
from aejax.lazily import lazily
from aejax.likelihoods import (
    bernoulli_log_prob,
    categorical_log_prob,
    continuous_bernoulli_log_prob,
    gaussian_log_prob,
    laplace_log_prob,
    logistic_mixture_log_prob,
)
from aejax.release import warn_of_wrong_release
from aejax.training.state import TrainState
from aejax.training.step import make_eval_step, make_train_step

if TYPE_CHECKING:
    from aejax.data.dataset import Dataset
    from aejax.data.load import load_dataset
    from aejax.models.model import Model
    from aejax.runs.config import Config
    from aejax.runs.opening import load_run, run
    from aejax.runs.run import Run
    from aejax.training.fit import fit
    from aejax.training.population import fit_population

_LAZY = {
    "Config": "runs.config",
    "Dataset": "data.dataset",
    "Model": "models.model",
    "Run": "runs.run",
    "fit": "training.fit",
    "fit_population": "training.population",
    "load_dataset": "data.load",
    "load_run": "runs.opening",
    "run": "runs.opening",
}
_ROOMS = [
    *("admission", "aggregate_posterior", "axes", "bounds", "corruptions", "data"),
    *("dequantization", "divergences", "estimators", "evaluation", "figures", "judging", "latents"),
    *("likelihoods", "metrics", "models", "nets", "objectives", "penalties", "precision", "priors"),
    *("runs", "schedules", "streams", "training"),
]

__all__ = [
    "Config",
    "Dataset",
    "DiagonalGaussian",
    "DivergedError",
    "Model",
    "Run",
    "TrainState",
    "UsageError",
    "bernoulli_log_prob",
    "categorical_log_prob",
    "continuous_bernoulli_log_prob",
    "fit",
    "fit_population",
    "gaussian_kl",
    "gaussian_kl_between",
    "gaussian_log_prob",
    "iwae_bound",
    "laplace_log_prob",
    "load_dataset",
    "load_run",
    "logistic_mixture_log_prob",
    "make_eval_step",
    "make_train_step",
    "reparameterize",
    "run",
    "standard_normal",
]

warn_of_wrong_release()


__getattr__ = lazily("aejax", _LAZY | dict.fromkeys(_ROOMS, ""))


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
