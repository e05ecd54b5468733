"""Objectives: one file, one kind: hyperparameters, which are its flags, and its formula.

    objective.terms(model, batch, key, step) -> terms, `[B]` by name, nats
    make_loss(model, objective) -> loss_fn(params, extra, batch, key, step)

`make_loss` is the one place that masks, averages and names the metrics.
"""

from aejax.objectives.adversarial import Discriminator, Generator
from aejax.objectives.aggregate import BetaTcVae, InfoVae, WaeMmd
from aejax.objectives.elbo import Cyclical, Elbo, WarmUp
from aejax.objectives.geco import Geco
from aejax.objectives.importance import Ciwae, FromDraws, Iwae, Miwae, Piwae, Renyi, Sampled
from aejax.objectives.mean_kl import Capacity, Charged, FreeBits
from aejax.objectives.objective import Objective, Terms, Training, batch_mean, make_loss
from aejax.objectives.reconstruction import (
    Around,
    OfDrawn,
    Penalised,
    Reconstruction,
    dequantized,
    dynamically_binarized,
)
from aejax.objectives.sequence import SequenceElbo, Transposed

__all__ = [
    "OBJECTIVES",
    "Around",
    "BetaTcVae",
    "Capacity",
    "Charged",
    "Ciwae",
    "Cyclical",
    "Discriminator",
    "Elbo",
    "FreeBits",
    "FromDraws",
    "Geco",
    "Generator",
    "InfoVae",
    "Iwae",
    "Miwae",
    "Objective",
    "OfDrawn",
    "Penalised",
    "Piwae",
    "Reconstruction",
    "Renyi",
    "Sampled",
    "SequenceElbo",
    "Terms",
    "Training",
    "Transposed",
    "WaeMmd",
    "WarmUp",
    "batch_mean",
    "dequantized",
    "dynamically_binarized",
    "make_loss",
]

OBJECTIVES: dict[str, type[Objective]] = {
    kind.name: kind
    for kind in (
        Elbo,
        WarmUp,
        Cyclical,
        Capacity,
        FreeBits,
        Geco,
        Sampled,
        Iwae,
        Miwae,
        Piwae,
        Ciwae,
        Renyi,
        InfoVae,
        WaeMmd,
        BetaTcVae,
    )
}
"""What `--objective` chooses from, by name."""
