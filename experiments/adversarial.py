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
Expected:  see the README's table of experiments; the ten arms of
           --prior mixture are not reached in 60 epochs of 4,000 digits
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
from aejax.data.dataset import ImageDataset
from aejax.divergences import inverse_multiquadric, median_distance, rbf, squared_mmd
from aejax.figures.codes import codes_beside_prior
from aejax.latents import gaussian_ring, standard_normal
from aejax.likelihoods import bernoulli_log_prob
from aejax.runs.commands import main
from aejax.runs.config import Config as CommonConfig
from aejax.runs.idle_flags import Conditions, Without
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
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


def results(run: Run, train: ImageDataset, test: ImageDataset) -> dict[str, float]:
    """How the test codes' distribution differs from the prior, beside draws of the prior."""
    codes = run.encode(test.images[:2000])
    keys = jax.random.split(jax.random.key(1), 1 + 2 * 20)
    config: Any = run.config
    draws = [config.sample_prior(key, len(codes)) for key in keys]
    prior = np.concatenate(draws)
    off_mean = np.abs(codes.mean(axis=0) - prior.mean(axis=0))
    off_sd = np.abs(codes.std(axis=0) - prior.std(axis=0))
    found = {
        "mean_off_by": float(off_mean.mean()),
        "mean_off_by_at_worst": float(off_mean.max()),
        "deviation_off_by": float(off_sd.mean()),
        "deviation_off_by_at_worst": float(off_sd.max()),
    }
    # Bandwidth and scale are the prior's own, so that the yardstick is the same for every run.
    kernels = {
        "rbf": rbf(median_distance(*draws[1:3])),
        "imq": inverse_multiquadric(2 * np.var(prior, axis=0).sum()),
    }
    for name, kernel in kernels.items():
        mmd = jax.jit(lambda x, y, kernel=kernel: squared_mmd(x, y, kernel))
        pairs = [float(mmd(x, y)) for x, y in zip(draws[1::2], draws[2::2], strict=True)]
        found[f"mmd2_{name}"] = float(mmd(codes, draws[0]))
        found[f"mmd2_{name}_largest_of_20_pairs_of_draws"] = max(pairs)
    for of, x, y in (("", codes, draws[0]), ("_of_draws", draws[1], draws[2])):
        for name, accuracy in two_sample_accuracies(np.asarray(x), np.asarray(y)).items():
            found[f"two_sample_accuracy_{name}{of}"] = accuracy
    return found


def two_sample_accuracies(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """How often classifiers fitted anew tell rows of `[N, D]` from rows of `[M, D]`; 0.5 is chance.

    Lopez-Paz & Oquab 2017 (arXiv 1610.06545): `quadratic`, logistic regression on the dimensions,
    their squares and, up to twenty dimensions, their products; `neighbours`, the five nearest, for
    what means and covariances do not show. Five-fold cross-validation.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    rows = np.concatenate([x, y])
    is_x = np.concatenate([np.ones(len(x)), np.zeros(len(y))])
    few = rows.shape[1] <= 20
    squares = PolynomialFeatures(2).fit_transform(rows) if few else np.hstack([rows, rows**2])
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return {
        "quadratic": float(cross_val_score(logistic, squares, is_x, cv=5).mean()),
        "neighbours": float(cross_val_score(KNeighborsClassifier(5), rows, is_x, cv=5).mean()),
    }


def pictures(run: Run, test: ImageDataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    config: Any = run.config
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    # Beside the training's own streams of the seed.
    key, sample_key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 1))
    yield "samples", figures.image_grid(run.sample(sample_key, 100))
    codes = run.encode(test.images[:2000])
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
