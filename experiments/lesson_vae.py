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
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from matplotlib.figure import Figure

from aejax import figures, likelihoods, models, nets, objectives
from aejax.data.dataset import Dataset
from aejax.divergences import gaussian_kl
from aejax.latents import standard_normal
from aejax.objectives import batch_mean
from aejax.runs.commands import main
from aejax.runs.config import Config as CommonConfig
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.types import Batch, LossFn, Metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CommonConfig):
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

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        if self.latent_dim < 1:
            raise ValueError(f"--latent-dim {self.latent_dim} is not positive")
        pair = {
            "dense": lambda: nets.mlp_pair(image_shape, (512,)),
            "conv": lambda: nets.pooled_pair(image_shape, (16, 8, 8)),
        }[self.net]()
        encoder, decoder = map(self.computed, pair)
        vae = models.VAE(encoder, decoder, self.latent_dim)
        model = models.functions(vae)
        make_loss = slipped_vae if self.slip else objectives.vae
        return Recipe(
            init=model.init,
            loss_fn=make_loss(model.apply, negative_squared_error),
            # Keras's RMSprop; its epsilon, too, is under the root.
            optimizer=optax.rmsprop(self.learning_rate, decay=0.9, eps=1e-7),
            encode=lambda params, x: model.encode(params, x).mean,
            decode=lambda params, z: jax.nn.sigmoid(model.decode(params, z)),
            sample_prior=lambda params, key, n: standard_normal((n, self.latent_dim)).sample(key),
            figures=pictures,
            headline=lambda m: (
                f"loss {m['loss']:.2f} = squared error {m['reconstruction']:.2f} "
                + (
                    f"+ what stands for the KL {m['charge']:.2f}"
                    if self.slip
                    else f"+ KL {m['kl']:.2f}"
                )
            ),
            latent_variable_model=models.latent_variable_model(vae, p_x()),
        )


def negative_squared_error(logits: jax.Array, x: jax.Array) -> jax.Array:
    """-sum (x - sigmoid(logits))^2, `[B, H, W, C]` x 2 -> `[B]`: 784 times Keras's mean.

    A Gaussian's log_prob of variance 1/2, but for its constant.
    """
    errors = (jax.nn.sigmoid(logits) - x).reshape(len(x), -1)
    return -jnp.sum(errors**2, axis=-1)


def p_x() -> likelihoods.Likelihood:
    """That Gaussian, a density: its means are the sigmoids of the decoder's outputs."""
    gaussian = likelihoods.gaussian(math.sqrt(0.5))
    return likelihoods.Likelihood(
        lambda logits, x: gaussian.log_prob(jax.nn.sigmoid(logits), x),
        jax.nn.sigmoid,
        lambda key, logits: gaussian.sample(key, jax.nn.sigmoid(logits)),
    )


def slipped_vae(
    apply_fn: Callable[..., Any], log_prob: Callable[[Any, jax.Array], jax.Array]
) -> LossFn:
    """`objectives.vae`, its KL charged as if `log_sigma` were the log of the variance.

    What is charged is no KL, and so the metric is called `charge`.
    """

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        outputs, posterior = apply_fn({"params": params, **extra}, batch["x"], key)
        mask = batch.get("mask")
        reconstruction = batch_mean(-log_prob(outputs, batch["x"]), mask)
        charged = batch_mean(gaussian_kl(posterior.mean, posterior.log_sigma / 2), mask)
        loss = reconstruction + charged
        return loss, ({"loss": loss, "reconstruction": reconstruction, "charge": charged}, extra)

    return loss_fn


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    codes = run.encode(test["x"][:10_000])
    yield "latent", figures.latent_scatter(codes, test.labels[:10_000], test.label_names)
    if codes.shape[1] == 2:
        yield "manifold", figures.manifold(run.decode)
        yield "square", figures.square(run.decode)
    if run.history:
        charged = "charge" if "charge" in run.metrics else "kl"
        yield "curves", figures.curves(run.history, ("loss", "reconstruction", charged))


if __name__ == "__main__":
    main(Config)
