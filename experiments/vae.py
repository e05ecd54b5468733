"""Variational autoencoder, Kingma & Welling 2014 (arXiv 1312.6114), and what came of it.

`--objective` names what is minimised: the ELBO (`--beta` 1 or another), the KL warmed up, cycled,
held at a capacity or free up to some nats, GECO, importance-weighted bounds and their kin, MMD in
the KL's place, the total correlation. Each has flags of its own: `vae.py --objective iwae --help`.

Command:   python experiments/vae.py
           python experiments/vae.py --objective iwae --samples 50 --gradient double
           python experiments/vae.py --objective sampled --prior vampprior
           python experiments/vae.py --likelihood continuous_bernoulli --dequantize
Expected:  see RESULTS.md
Cost:      under a minute on two cores; with many samples as many times more
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

import flax.linen as nn

from aejax import models, objectives
from aejax.cli.commands import main
from aejax.models import Model
from aejax.nets.priors import MixturePrior, VampPrior
from aejax.objectives import OBJECTIVES, Elbo, Objective
from aejax.runs.architecture import ArchitectureConfig
from aejax.runs.families import VaeConfig
from aejax.runs.idle_flags import Conditions, With
from aejax.settings import setting
from aejax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ArchitectureConfig, VaeConfig):
    """Train a variational autoencoder, or use a trained one (evaluate, encode, ...)."""

    name: ClassVar[str] = "vae"
    kinds: ClassVar[Mapping[str, Mapping[str, type]]] = {"objective": OBJECTIVES}
    acts: ClassVar[Conditions] = {
        **ArchitectureConfig.acts,
        "components": With("prior", ("mixture", "vampprior")),
    }

    batch_size: int = 64
    """Images a step."""
    objective: Objective = dataclasses.field(default=Elbo())
    """What is minimised."""
    prior: Literal["normal", "mixture", "vampprior"] = "normal"
    """p(z): N(0, I), a learned mixture of Gaussians, or one of the posteriors of learned images."""
    components: int = setting(50, at_least=1)
    """Components of the prior (--prior mixture or vampprior)."""
    dequantize: bool = False
    """Train and evaluate a density (--likelihood continuous_bernoulli, gaussian..., laplace) on
    pixels drawn uniformly within their levels: its bits can then be compared with those of
    categorical and logistic_mixture."""

    def model(self, spec: Spec) -> Model:
        """A VAE of these nets, prior and likelihood."""
        prior = self.prior_net(spec["x"].shape)
        return models.vae(*self.nets(spec), self.latent_dim, self.p_x(), prior)

    def criterion(self, spec: Spec) -> Objective:
        """The objective, of pixels drawn within their levels if asked."""
        return objectives.dequantized(self.objective) if self.dequantize else self.objective

    def check(self) -> None:
        """Raises a `ValueError` for a prior or a likelihood that does not suit the others."""
        likelihood = self.p_x()
        if self.dequantize and (likelihood.binary or likelihood.levels):
            raise ValueError(
                f"--dequantize is for densities, and --likelihood {self.likelihood} is none: leave "
                "it out, or give --likelihood continuous_bernoulli"
            )
        if self.prior != "normal" and not self.objective.any_prior:
            takers = [name for name, kind in OBJECTIVES.items() if kind.any_prior]
            raise ValueError(
                f"--objective {self.objective.name} has N(0, I) in its KL: with --prior "
                f"{self.prior} give one of {', '.join(takers)}"
            )

    @property
    def dequantized(self) -> bool:  # type: ignore[override]
        """Whether the loss draws the pixels anew within their levels."""
        return self.dequantize

    def by_length(self) -> bool:
        """Also where the objective's schedule is drawn over the whole training."""
        return super().by_length() or self.objective.by_length

    def prior_net(self, shape: tuple[int, ...]) -> nn.Module | None:
        """The prior's module for x of that shape, or None for N(0, I)."""
        modules = {
            "normal": lambda: None,
            "mixture": lambda: MixturePrior(self.components, self.latent_dim),
            "vampprior": lambda: VampPrior(self.components, shape),
        }
        return modules[self.prior]()


if __name__ == "__main__":
    main(Config)
