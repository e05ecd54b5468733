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
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import flax.linen as nn
import optax
from matplotlib.figure import Figure

from aejax import figures, models, objectives
from aejax.data.dataset import Dataset
from aejax.nets.priors import MixturePrior, VampPrior
from aejax.runs import headlines
from aejax.runs.architecture import ArchitectureConfig
from aejax.runs.commands import main
from aejax.runs.idle_flags import Conditions, With
from aejax.runs.objectives import OBJECTIVES, Elbo, Objective, Training
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.streams import seed_stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ArchitectureConfig):
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
    dequantize: bool = False
    """Train and evaluate a density (--likelihood continuous_bernoulli, gaussian..., laplace) on
    pixels drawn uniformly within their levels: its bits can then be compared with those of
    categorical and logistic_mixture."""
    components: int = 50
    """Components of the prior (--prior mixture or vampprior)."""

    def build_for(self, image_shape: tuple[int, int, int], train_images: int) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        encoder, decoder = self.nets(image_shape)
        vae = models.VAE(encoder, decoder, self.latent_dim, self.p_z(image_shape))
        likelihood, model = self.p_x(), models.functions(vae)
        functions = models.latent_variable_model(vae, likelihood)
        training = Training(self.steps(train_images), train_images, self.batch_size)
        has_density = self.objective.has_kl and likelihood.normalised
        if self.dequantize and (likelihood.binary or likelihood.levels):
            raise ValueError(
                f"--dequantize is for densities, and --likelihood {self.likelihood} is none: leave "
                "it out, or give --likelihood continuous_bernoulli"
            )
        loss_fn = self.objective.loss(functions, training)
        return Recipe(
            init=model.init,
            loss_fn=objectives.dequantized(loss_fn) if self.dequantize else loss_fn,
            optimizer=optax.adam(self.learning_rate),
            encode=lambda params, x: model.encode(params, x).mean,
            decode=lambda params, z: likelihood.mean(model.decode(params, z)),
            sample_prior=lambda params, key, n: functions.prior(params).samples(key, n),
            figures=pictures,
            headline=headlines.elbo if self.objective.has_kl else headlines.wae,
            score=self.objective.score,
            extra=self.objective.extra(),
            latent_variable_model=functions if has_density else None,
            dequantized=self.dequantize,
        )

    def resumable(self) -> frozenset[str]:
        """Not the epochs, where the objective's schedule is drawn over all of them."""
        return super().resumable() - ({"epochs"} if self.objective.by_length else set())

    def p_z(self, image_shape: tuple[int, int, int]) -> nn.Module | None:
        """The prior's module, or None for N(0, I).

        Raises:
            ValueError: if the objective takes no other prior than N(0, I).
        """
        if self.prior == "normal":
            return None
        if not self.objective.any_prior:
            takers = [name for name, kind in OBJECTIVES.items() if kind.any_prior]
            raise ValueError(
                f"--objective {self.objective.name} has N(0, I) in its KL: with --prior "
                f"{self.prior} give one of {', '.join(takers)}"
            )
        if self.components < 1:
            raise ValueError(f"--components {self.components} is not positive")
        modules = {
            "mixture": lambda: MixturePrior(self.components, self.latent_dim),
            "vampprior": lambda: VampPrior(self.components, image_shape),
        }
        return modules[self.prior]()


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    yield "samples", figures.image_grid(run.sample(seed_stream(run.config.seed, "pictures"), 100))
    codes = run.encode(test["x"][:10_000])
    yield "latent", figures.latent_scatter(codes, test.labels[:10_000], test.label_names)
    if codes.shape[1] == 2:
        yield "manifold", figures.manifold(run.decode)
    if run.history:
        yield (
            "curves",
            figures.curves(
                run.history,
                [name for name in ("loss", "reconstruction", "kl", "mmd") if name in run.metrics],
            ),
        )


if __name__ == "__main__":
    main(Config)
