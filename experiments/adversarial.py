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

from aejax import figures, models, nets, objectives
from aejax.data.dataset import Dataset
from aejax.divergences import inverse_multiquadric, median_distance, rbf
from aejax.evaluation.two_sample import Tested, permutation_tests, usual_statistics
from aejax.figures.codes import codes_beside_prior
from aejax.latents import gaussian_ring, standard_normal
from aejax.likelihoods import bernoulli_log_prob
from aejax.runs.commands import main
from aejax.runs.config import Config as CommonConfig
from aejax.runs.idle_flags import Conditions, Without
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.streams import seed_stream
from aejax.training.adversarial import (
    Phase,
    discriminator_loss,
    generator_loss,
    make_phased_step,
    phased_loss,
    phased_optimizer,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CommonConfig):
    """Train an adversarial autoencoder, or use a trained one."""

    name: ClassVar[str] = "adversarial"
    acts: ClassVar[Conditions] = {
        **CommonConfig.acts,
        "discriminator_rate": Without("frozen_discriminator", (True,)),
    }

    epochs: int = 60
    """Passes over the training images."""
    learning_rate: float = 1e-3
    """Adam's learning rate for the reconstruction (encoder and decoder)."""
    generator_rate: float = 5e-4
    """Adam's learning rate for the encoder against the discriminator."""
    discriminator_rate: float = 1e-3
    """Adam's learning rate for the discriminator."""
    halve_every: int = 600
    """Steps in which all three rates fall by half; 0: constant rates, the lesson's."""
    latent_dim: int = 2
    """Dimensions of the latent."""
    hidden: tuple[int, ...] = (400, 200)
    """Widths of the dense layers, from the image inwards."""
    discriminator: tuple[int, ...] = (200, 200)
    """Widths of the discriminator's dense layers."""
    prior: Literal["normal", "mixture"] = "normal"
    """N(0, I), or ten Gaussians on a ring (for --latent-dim 2)."""
    frozen_discriminator: bool = False
    """Never step the discriminator, which the lesson's notebook does by accident."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, losses, phases and figures for images of `(H, W, C)`."""
        self.check()
        hidden, decoder = nets.mlp_pair(image_shape, self.hidden)
        encoder = self.computed(nn.Sequential([hidden, nn.Dense(self.latent_dim)]))
        model = models.functions(models.Autoencoder(encoder, self.computed(decoder)))
        network = nn.Sequential([nets.MLPEncoder(self.discriminator), nn.Dense(1)])

        def init(key: jax.Array, x: jax.Array) -> Any:
            model_key, key = jax.random.split(key)
            codes = jnp.zeros((1, self.latent_dim))
            return model.init(model_key, x) | {"discriminator": network.init(key, codes)["params"]}

        def discriminate(params: Any, z: jax.Array) -> jax.Array:
            logits: Any = network.apply({"params": params["discriminator"]}, z)
            return logits[:, 0]

        phases = self.phases(model, discriminate)
        return Recipe(
            init=init,
            loss_fn=phased_loss(phases),
            optimizer=phased_optimizer(phases),
            train_step=make_phased_step(phases),
            encode=model.encode,
            decode=lambda params, z: jax.nn.sigmoid(model.decode(params, z)),
            sample_prior=lambda params, key, n: self.sample_prior(key, n),
            figures=pictures,
            headline=lambda m: (
                f"reconstruction {m['reconstruction']:.2f} nats "
                f"({m['reconstruction_per_pixel']:.5f} a pixel), discriminator "
                f"{m['discriminator']:.3f} nats, right {m['discriminator_accuracy']:.1%}"
            ),
            results=results,
        )

    def check(self) -> None:
        """Raises a `ValueError` for a size or a rate that makes no sense."""
        if self.latent_dim < 1:
            raise ValueError(f"--latent-dim {self.latent_dim} is not positive")
        if self.prior == "mixture" and self.latent_dim != 2:
            raise ValueError(
                f"--prior mixture lies in the plane, not in {self.latent_dim} dimensions: "
                "give --latent-dim 2 or --prior normal"
            )
        if not all(width > 0 for width in self.discriminator):
            raise ValueError(
                f"--discriminator {self.discriminator} has a width that is not positive"
            )
        if self.halve_every < 0:
            raise ValueError(f"--halve-every {self.halve_every} is negative: give steps, or 0")
        for flag in ("generator", "discriminator"):
            rate = getattr(self, f"{flag}_rate")
            if not (np.isfinite(rate) and rate > 0):
                raise ValueError(f"--{flag}-rate {rate} is not a positive number")

    def phases(
        self, model: models.ModelFunctions, discriminate: Callable[[Any, jax.Array], jax.Array]
    ) -> dict[str, Phase]:
        """The updates of a step, in order."""
        frozen = self.frozen_discriminator

        def adversary(rate: float) -> optax.GradientTransformation:
            # b1 of Radford et al. 2016 (arXiv 1511.06434), section 3: less momentum, less circling.
            return optax.adam(self.falling(rate), b1=0.5)

        return {
            "reconstruction": Phase(
                objectives.autoencoder(model.apply, bernoulli_log_prob),
                optax.adam(self.falling(self.learning_rate)),
                ("encoder", "decoder"),
            ),
            "discriminator": Phase(
                discriminator_loss(model.encode, discriminate, self.sample_prior),
                optax.set_to_zero() if frozen else adversary(self.discriminator_rate),
                ("discriminator",),
            ),
            "generator": Phase(
                generator_loss(model.encode, discriminate),
                adversary(self.generator_rate),
                ("encoder",),
            ),
        }

    def falling(self, rate: float) -> optax.ScalarOrSchedule:
        """The schedule of a learning rate: at constant rates the players circle for ever."""
        if self.halve_every == 0:
            return rate
        return optax.exponential_decay(rate, self.halve_every, 0.5)

    def sample_prior(self, key: jax.Array, n: int) -> jax.Array:
        """`n` draws of the prior, `[n, latent_dim]`."""
        if self.prior == "mixture":
            return gaussian_ring().sample(key, n)
        return standard_normal((n, self.latent_dim)).sample(key)


def results(run: Run, train: Dataset, test: Dataset) -> dict[str, float]:
    """Whether the test codes can be told from draws of the prior, and the training codes too.

    Of every statistic its value, the 95% quantile of its null and its p-value; and how many of the
    six exceed that quantile, as each does in one of twenty comparisons of draws with draws.
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


def against_prior(run: Run, data: Dataset) -> dict[str, Tested]:
    """Two-sample tests of the codes of the first images against as many draws of the prior."""
    config: Any = run.config
    codes = run.encode(data["x"][:1000])
    draw_key, other_key, permutation_key = jax.random.split(seed_stream(config.seed, "results"), 3)
    draws = config.sample_prior(draw_key, len(codes))
    # Bandwidth and scale are the prior's own, so that the yardstick is the same for every run.
    others = config.sample_prior(other_key, len(codes))
    kernels = {
        "rbf": rbf(median_distance(draws, others)),
        "imq": inverse_multiquadric(2 * jnp.var(others, axis=0).sum()),
    }
    rng = np.random.default_rng(np.asarray(jax.random.key_data(permutation_key)))
    return permutation_tests(usual_statistics(kernels), codes, np.asarray(draws), rng)


def told_apart_by(tests: dict[str, Tested]) -> int:
    """How many statistics exceed the 95% quantile of their null."""
    return sum(tested.value > tested.quantile for tested in tests.values())


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    config: Any = run.config
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    key, sample_key = jax.random.split(seed_stream(config.seed, "pictures"))
    yield "samples", figures.image_grid(run.sample(sample_key, 100))
    codes = run.encode(test["x"][:2000])
    draws = np.asarray(config.sample_prior(key, len(codes)))
    yield "codes", codes_beside_prior(codes, draws, test.labels[:2000], test.label_names)
    if config.latent_dim == 2 and config.prior == "normal":
        yield "manifold", figures.manifold(run.decode)
    if run.history:
        names = ("reconstruction", "discriminator", "generator", "discriminator_accuracy")
        figure = figures.curves(run.history, names)
        figure.axes[-1].set(ylabel="share", ylim=(0, 1))
        yield "curves", figure


if __name__ == "__main__":
    main(Config)
