"""The objectives of `vae.py --objective`, by name: each a dataclass of its flags."""

from aejax.runs.objectives.aggregate import BetaTcVae, InfoVae, WaeMmd
from aejax.runs.objectives.charged import Capacity, Cyclical, Elbo, FreeBits, Geco, WarmUp
from aejax.runs.objectives.objective import Objective, Training
from aejax.runs.objectives.sampled import Ciwae, Iwae, Miwae, Piwae, Renyi, Sampled

__all__ = [
    "OBJECTIVES",
    "BetaTcVae",
    "Capacity",
    "Ciwae",
    "Cyclical",
    "Elbo",
    "FreeBits",
    "Geco",
    "InfoVae",
    "Iwae",
    "Miwae",
    "Objective",
    "Piwae",
    "Renyi",
    "Sampled",
    "Training",
    "WaeMmd",
    "WarmUp",
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
