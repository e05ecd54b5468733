"""Adversarial autoencoder: codes that a discriminator cannot tell from draws of the prior.

Makhzani et al. 2015 (arXiv 1511.05644), section 2, and the lesson's system (AI for Beginners,
lesson 9): dense nets, and a step of three phases. The defaults' nets are smaller and their rates
higher, and fall, so that 4,000 digits and 2,000 steps do. The lesson's own sizes and rates:

    --latent-dim 150 --hidden 1000 1000 1000 --discriminator 500 500 500 500 --batch-size 256
    --epochs 30 --learning-rate 1e-4 --generator-rate 5e-5 --discriminator-rate 5e-5 --halve-every 0

The lesson's notebook never steps its discriminator, and prints the losses of one that knows nothing
(2 ln 2 and ln 2): --frozen-discriminator. Here the encoder then goes where the untrained
discriminator points, far from the prior.

Command:   python experiments/adversarial.py
           python experiments/adversarial.py --prior mixture
           python experiments/adversarial.py --frozen-discriminator
Expected:  see RESULTS.md; the ten arms of --prior mixture are not reached in 60 epochs of 4,000
           digits
Cost:      about forty seconds on two cores
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, nets
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.divergences import inverse_multiquadric, median_distance, rbf
from aejax.evaluation.two_sample import Tested, permutation_tests, usual_statistics
from aejax.figures.codes import codes_beside_prior
from aejax.latents import gaussian_ring, standard_normal
from aejax.models import Autoencoder, Model, flax_model
from aejax.objectives import Discriminator, Generator, Reconstruction, make_loss
from aejax.runs.families import AutoencoderConfig, curves, reconstructions
from aejax.runs.idle_flags import Conditions, Without
from aejax.runs.run import Run
from aejax.settings import setting
from aejax.streams import seed_stream
from aejax.training.adversarial import Phase
from aejax.types import Batch, Spec, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AutoencoderConfig):
    """Train an adversarial autoencoder, or use a trained one."""

    name: ClassVar[str] = "adversarial"
    acts: ClassVar[Conditions] = {
        **AutoencoderConfig.acts,
        "discriminator_rate": Without("frozen_discriminator", (True,)),
    }

    epochs: int = 60
    """Passes over the training images."""
    learning_rate: float = 1e-3
    """Adam's learning rate for the reconstruction (encoder and decoder)."""
    generator_rate: float = setting(5e-4, above=0)
    """Adam's learning rate for the encoder against the discriminator."""
    discriminator_rate: float = setting(1e-3, above=0)
    """Adam's learning rate for the discriminator."""
    halve_every: int = setting(600, at_least=0)
    """Steps in which all three rates fall by half; 0: constant rates, the lesson's."""
    latent_dim: int = setting(2, at_least=1)
    """Dimensions of the latent."""
    hidden: tuple[int, ...] = (400, 200)
    """Widths of the dense layers, from the image inwards."""
    discriminator: tuple[int, ...] = (200, 200)
    """Widths of the discriminator's dense layers."""
    prior: Literal["normal", "mixture"] = "normal"
    """N(0, I), or ten Gaussians on a ring (for --latent-dim 2)."""
    frozen_discriminator: bool = False
    """Never step the discriminator, which the lesson's notebook does by accident."""

    def model(self, spec: Spec) -> Model:
        """An autoencoder, the prior of its codes, and a discriminator of both."""
        hidden, decoder = nets.mlp_pair(spec["x"].shape, self.hidden)
        encoder = nn.Sequential([hidden, nn.Dense(self.latent_dim)])
        halves = encoder, decoder, likelihoods.bernoulli()
        network = nn.Sequential([nets.MLPEncoder(self.discriminator), nn.Dense(1)])

        def init(key: jax.Array, batch: Batch) -> Variables:
            model_key, key = jax.random.split(key)
            params = flax_model(Autoencoder(*halves)).init(model_key, batch)["params"]
            of_network: Any = network.init(key, jnp.zeros((1, self.latent_dim)))["params"]
            return {"params": params | {"discriminator": of_network}}

        whole = Adversarial(*halves, discriminator=network, p_z=self.p_z)
        return dataclasses.replace(flax_model(whole), init=init)

    def check(self) -> None:
        """Raises a `ValueError` for a prior or a discriminator that makes no sense."""
        if self.prior == "mixture" and self.latent_dim != 2:
            raise ValueError(
                f"--prior mixture lies in the plane, not in {self.latent_dim} dimensions: "
                "give --latent-dim 2 or --prior normal"
            )
        if not all(width > 0 for width in self.discriminator):
            raise ValueError(
                f"--discriminator {self.discriminator} has a width that is not positive"
            )

    def phases(self, model: Model) -> dict[str, Phase]:
        """The updates of a step, in order."""
        frozen = self.frozen_discriminator

        def adversary(rate: float) -> optax.GradientTransformation:
            # b1 of Radford et al. 2016 (arXiv 1511.06434), section 3: less momentum, less circling.
            return optax.adam(self.falling(rate), b1=0.5)

        return {
            "reconstruction": Phase(
                make_loss(model, Reconstruction()),
                optax.adam(self.falling(self.learning_rate)),
                ("encoder", "decoder"),
            ),
            "discriminator": Phase(
                make_loss(model, Discriminator()),
                optax.set_to_zero() if frozen else adversary(self.discriminator_rate),
                ("discriminator",),
            ),
            "generator": Phase(
                make_loss(model, Generator()), adversary(self.generator_rate), ("encoder",)
            ),
        }

    def falling(self, rate: float) -> optax.ScalarOrSchedule:
        """The schedule of a learning rate: at constant rates the players circle for ever."""
        if self.halve_every == 0:
            return rate
        return optax.exponential_decay(rate, self.halve_every, 0.5)

    def p_z(self) -> Any:
        """The prior of the codes."""
        return gaussian_ring() if self.prior == "mixture" else standard_normal((self.latent_dim,))

    def headline(self, metrics: dict[str, float]) -> str:
        """The reconstruction, and what the discriminator knows."""
        return (
            f"reconstruction {metrics['reconstruction']:.2f} nats "
            f"({metrics['reconstruction_per_pixel']:.5f} a pixel), discriminator "
            f"{metrics['discriminator']:.3f} nats, right {metrics['discriminator_accuracy']:.1%}"
        )

    def results(self, run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
        """Whether the test codes can be told from draws of the prior, and the training codes too.

        Of every statistic its value, the 95% quantile of its null and its p-value; and how many of
        the six exceed that quantile, as each does in one of twenty comparisons of draws with draws.
        """
        tests = against_prior(run, test)
        found = {}
        for name, tested in tests.items():
            found[name] = tested.value
            found[f"{name}_null_95"] = tested.quantile
            found[f"{name}_p"] = tested.p_value
        return found | {
            "told_apart_by": told_apart_by(tests),
            "training_codes_told_apart_by": told_apart_by(against_prior(run, train)),
        }

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, samples, codes beside draws of the prior, the plane, curves."""
        yield "reconstructions", reconstructions(run, test)
        key, sample_key = jax.random.split(seed_stream(self.seed, "pictures"))
        yield "samples", figures.image_grid(run.sample(sample_key, 100))
        codes = run.encode(test["x"][:2000])
        draws = np.asarray(self.p_z().samples(key, len(codes)))
        yield "codes", codes_beside_prior(codes, draws, test.labels[:2000], test.label_names)
        if self.latent_dim == 2 and self.prior == "normal":
            yield "manifold", figures.manifold(run.decode)
        names = "reconstruction", "discriminator", "generator", "discriminator_accuracy"
        for name, figure in curves(run, *names):
            figure.axes[-1].set(ylabel="share", ylim=(0, 1))
            yield name, figure


class Adversarial(Autoencoder):
    """An autoencoder with a prior for its codes, and a network that tells draws of it from them."""

    discriminator: nn.Module | None = None
    p_z: Callable[[], Any] | None = None

    def prior(self, batch: Batch | None = None) -> Any:
        """The prior that the codes are to have."""
        assert self.p_z is not None
        return self.p_z()

    def discriminate(self, z: jax.Array) -> jax.Array:
        """Codes `[B, D]` -> the logits `[B]` of being draws of the prior."""
        assert self.discriminator is not None
        return self.discriminator(z)[:, 0]


def against_prior(run: Run, data: Dataset) -> dict[str, Tested]:
    """Two-sample tests of the codes of the first images against as many draws of the prior."""
    config: Any = run.config
    codes = run.encode(data["x"][:1000])
    draw_key, other_key, permutation_key = jax.random.split(seed_stream(config.seed, "results"), 3)
    draws = config.p_z().samples(draw_key, len(codes))
    # Bandwidth and scale are the prior's own, so that the yardstick is the same for every run.
    others = config.p_z().samples(other_key, len(codes))
    kernels = {
        "rbf": rbf(median_distance(draws, others)),
        "imq": inverse_multiquadric(2 * jnp.var(others, axis=0).sum()),
    }
    rng = np.random.default_rng(np.asarray(jax.random.key_data(permutation_key)))
    return permutation_tests(usual_statistics(kernels), codes, np.asarray(draws), rng)


def told_apart_by(tests: dict[str, Tested]) -> int:
    """How many statistics exceed the 95% quantile of their null."""
    return sum(tested.value > tested.quantile for tested in tests.values())


if __name__ == "__main__":
    main(Config)
