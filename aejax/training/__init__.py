"""Training: the state, the step, and the one loop."""

from aejax.lazily import lazily

_NAMES = {
    "TrainState": "state",
    "debiased_rate": "step",
    "fit_population": "population",
    "make_eval_step": "step",
    "make_train_step": "step",
    "skip_outliers": "skipping",
}

__getattr__ = lazily("aejax.training", _NAMES)


def __dir__() -> list[str]:
    return sorted(_NAMES)
