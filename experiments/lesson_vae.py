"""The lesson's dense VAE, 784-512-2-512-784, right and as the lesson has it, and a convolutional.

AI for Beginners, lesson 9, after Chollet 2016, "Building autoencoders in Keras". There the second
head s of the encoder is the log of the standard deviation in the sampling and the log of the
variance in the divergence, which is then no bound on anything: --slip trains that loss. The
lesson's assignment, --net conv, puts the networks of conv_autoencoder.py about the same latent.

Command:   python experiments/lesson_vae.py
           python experiments/lesson_vae.py --slip
           python experiments/lesson_vae.py --net conv
Expected:  see RESULTS.md; published for MNIST, with the slip: 35.73
Cost:      about fifteen seconds on two cores, conv about thirty
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets
from aejax.cli.commands import main
from aejax.data.dataset import Dataset
from aejax.divergences import gaussian_kl
from aejax.models import Bound, Model
from aejax.objectives import Objective, Terms
from aejax.runs.families import VaeConfig, curves, latent, reconstructions
from aejax.types import Batch, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(VaeConfig):
    """Train the lesson's VAE, or use a trained one (evaluate, encode, ...)."""

    name: ClassVar[str] = "lesson_vae"

    epochs: int = 25
    """Passes over the training images."""
    latent_dim: int = 2
    """Dimensions of the latent."""
    net: Literal["dense", "conv"] = "dense"
    """A hidden layer of 512, or the convolutions 16-8-8 of the lesson's autoencoder."""
    slip: bool = False
    """As the lesson has it: log sigma in the sampling, charged as log sigma squared."""

    def model(self, spec: Spec) -> Model:
        """A VAE of the lesson's nets; x is Gaussian."""
        pair = {
            "dense": lambda: nets.mlp_pair(spec["x"].shape, (512,)),
            "conv": lambda: nets.pooled_pair(spec["x"].shape, (16, 8, 8)),
        }[self.net]()
        return models.vae(*pair, self.latent_dim, p_x())

    def criterion(self, spec: Spec) -> Objective:
        """Squared error and KL, as Keras adds them up, or with the slip."""
        return SlippedElbo() if self.slip else SquaredErrorElbo()

    def optimizer(self, steps_per_epoch: int) -> optax.GradientTransformation:
        """Keras's RMSprop; its epsilon, too, is under the root."""
        return optax.rmsprop(self.learning_rate, decay=0.9, eps=1e-7)

    def headline(self, metrics: dict[str, float]) -> str:
        """The loss and its parts."""
        parts = f"loss {metrics['loss']:.2f} = squared error {metrics['reconstruction']:.2f} + "
        if self.slip:
            return parts + f"what stands for the KL {metrics['charge']:.2f}"
        return parts + f"KL {metrics['kl']:.2f}"

    def figures(self, run: Any, test: Dataset) -> Iterator[tuple[str, Figure]]:
        """Reconstructions, codes, two pictures of the plane, curves."""
        yield "reconstructions", reconstructions(run, test)
        yield "latent", latent(run, test)
        if self.latent_dim == 2:
            yield "manifold", figures.manifold(run.decode)
            yield "square", figures.square(run.decode)
        yield from curves(run, "loss", "reconstruction", "kl", "charge")


def p_x() -> likelihoods.Likelihood:
    """A Gaussian of variance 1/2, whose means are the sigmoids of the decoder's outputs."""
    gaussian = likelihoods.gaussian(math.sqrt(0.5))
    return likelihoods.Likelihood(
        lambda logits, x: gaussian.log_prob(jax.nn.sigmoid(logits), x),
        jax.nn.sigmoid,
        lambda key, logits: gaussian.sample(key, jax.nn.sigmoid(logits)),
    )


def squared_error(model: Bound, batch: Batch, z: jax.Array) -> jax.Array:
    """Summed over pixels, `[B]`: 784 times Keras's mean, and minus `p_x` but for a constant."""
    errors = model.decode(z) - batch["x"]
    return jnp.sum(errors.reshape(len(errors), -1) ** 2, axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquaredErrorElbo(Objective):
    """Squared error + KL: the ELBO without its Gaussian's constant."""

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, minus the squared error and the KL."""
        posterior = model.posterior(batch)
        error = squared_error(model, batch, posterior.sample(key))
        kl = posterior.kl(model.prior(batch))
        return Terms(loss=error + kl, log_likelihood=-error, kl=kl)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlippedElbo(Objective):
    """The same, its KL charged as if `log_sigma` were the log of the variance.

    What is charged is no KL, and so the metric is called `charge`.
    """

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, minus the squared error and the charge."""
        posterior = model.posterior(batch)
        error = squared_error(model, batch, posterior.sample(key))
        charge = gaussian_kl(posterior.mean, posterior.log_sigma / 2)
        return Terms(loss=error + charge, log_likelihood=-error, charge=charge)


if __name__ == "__main__":
    main(Config)
