"""Conditional VAE: the class is given, z keeps the style (Sohn, Lee & Yan 2015).

p(z|y) is a learned mixture of Gaussians for each class, because the codes of a class do not fill
N(0, I), and what is drawn between them decodes to no digit; `--prior normal` shows it. Codes are
`[z, one-hot of the class]`: an image's class is the one whose ELBO, at the posterior's mean, is
highest.

Command:   python experiments/conditional_vae.py
           python experiments/conditional_vae.py --prior normal
Expected:  see RESULTS.md; of the samples a judge recognises less as the
           class asked for than of test images, and more than with N(0, I)
Cost:      a minute or two on two cores, the judge and the plain VAE beside it included
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from aejax import figures, models, objectives
from aejax.data.dataset import Dataset
from aejax.evaluation.coverage import diversity
from aejax.evaluation.judge import fit_judge
from aejax.evaluation.probes import linear_probe_accuracy
from aejax.nets.priors import ClassMixturePrior
from aejax.objectives.loss import batch_mean, elbo_metrics
from aejax.runs import headlines
from aejax.runs.architecture import ArchitectureConfig
from aejax.runs.commands import main
from aejax.runs.idle_flags import Conditions, With
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.streams import seed_stream
from aejax.training.loop import fit
from aejax.training.state import TrainState
from aejax.types import Batch, LossFn, Metrics

SAMPLES = 1000  # that are judged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ArchitectureConfig):
    """Train a conditional variational autoencoder, or use a trained one."""

    name: ClassVar[str] = "conditional_vae"
    acts: ClassVar[Conditions] = {
        **ArchitectureConfig.acts,
        "components": With("prior", ("mixture",)),
    }

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 64
    """Images a step."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """The learning rate throughout, or its rise over 2% of the steps and a cosine down to 0."""
    latent_dim: int = 8
    """Dimensions of the latent."""
    hidden: tuple[int, ...] = (512, 256)
    """Widths of the dense layers, from the image inwards (--net mlp)."""
    classes: int = 10
    """Classes of the data set."""
    prior: Literal["normal", "mixture"] = "mixture"
    """p(z|y): N(0, I), or a learned mixture of Gaussians for each class."""
    components: int = 20
    """Components of a class's mixture (--prior mixture)."""

    def build(self, image_shape: tuple[int, int, int]) -> Recipe:
        """Model, loss, optimiser and figures for images of `(H, W, C)`."""
        if self.classes < 2:
            raise ValueError(f"--classes {self.classes} is less than 2: use vae.py")
        model = models.ConditionalVAE(
            *self.nets(image_shape), self.latent_dim, self.classes, prior=self.p_z()
        )
        likelihood = self.p_x()

        def decode(params: Any, codes: jax.Array) -> jax.Array:
            z, one_hot = jnp.split(codes, [self.latent_dim], axis=-1)
            labels = jnp.argmax(one_hot, axis=-1)
            return likelihood.mean(model.apply({"params": params}, z, labels, method="decode"))

        return Recipe(
            init=lambda key, x: model.init(
                key, x, jnp.zeros(len(x), jnp.int32), method="everything"
            )["params"],
            loss_fn=negative_elbo(model, likelihood.log_prob),
            optimizer=optax.adam(self.learning_rate),
            encode=partial(most_likely_codes, model, likelihood.log_prob),
            decode=decode,
            sample_prior=partial(prior_codes, model),
            figures=pictures,
            headline=headlines.elbo,
            results=partial(results, model),
            classes=self.classes,
        )

    def p_z(self) -> nn.Module | None:
        """The learned prior p(z|y), or None for N(0, I)."""
        if self.prior == "normal":
            return None
        if self.components < 1:
            raise ValueError(f"--components {self.components} is not positive")
        return ClassMixturePrior(self.classes, self.components, self.latent_dim)


def negative_elbo(model: models.ConditionalVAE, log_prob: Any) -> LossFn:
    """-ELBO by one draw of z, nats per image; the metrics are those of `objectives.vae`."""

    def loss_fn(
        params: Any, extra: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        images, mask = batch["x"], batch.get("mask")
        found: Any = model.apply({"params": params, **extra}, images, batch["label"], key)
        outputs, divergence = found
        reconstruction = batch_mean(-log_prob(outputs, images), mask)
        kl = batch_mean(divergence, mask)
        loss = reconstruction + kl
        return loss, (elbo_metrics(loss, reconstruction, kl), extra)

    return loss_fn


def most_likely_codes(
    model: models.ConditionalVAE, log_prob: Any, params: Any, x: jax.Array
) -> jax.Array:
    """Images `[B, H, W, C]` -> `[B, D + classes]`: z and the class of the highest ELBO.

    The ELBO's expectations are taken at the posterior's mean; the entropy of q is exact.
    """

    def under(label: jax.Array) -> tuple[jax.Array, jax.Array]:
        labels = jnp.full(len(x), label)
        posterior: Any = model.apply({"params": params}, x, labels, method="encode")
        prior: Any = model.apply({"params": params}, labels, method="p_z")
        outputs = model.apply({"params": params}, posterior.mean, labels, method="decode")
        log_p = jax.vmap(lambda p, z: p.log_prob(z))(prior, posterior.mean)
        entropy = jnp.sum(posterior.log_sigma, axis=-1)  # up to what all classes share
        return log_prob(outputs, x) + log_p + entropy, posterior.mean

    elbos, means = jax.lax.map(under, jnp.arange(model.classes))
    best = jnp.argmax(elbos, axis=0)
    z = jnp.take_along_axis(means, best[None, :, None], axis=0)[0]
    return jnp.concatenate([z, jax.nn.one_hot(best, model.classes)], axis=-1)


def prior_codes(model: models.ConditionalVAE, params: Any, key: jax.Array, n: int) -> jax.Array:
    """`[n, latent_dim + classes]`: z from p(z|y), the classes y in turn."""
    labels = jnp.arange(n) % model.classes
    prior: Any = model.apply({"params": params}, labels, method="p_z")
    z = jax.vmap(lambda p, key: p.samples(key, 1)[0])(prior, jax.random.split(key, n))
    return jnp.concatenate([z, jax.nn.one_hot(labels, model.classes)], axis=-1)


def results(
    model: models.ConditionalVAE, run: Run, train: Dataset, test: Dataset
) -> dict[str, float]:
    """Whether samples show the class asked for, how diverse they are, and what z says of it."""
    train, test = train.first(10_000), test.first(10_000)
    guessed = np.argmax(run.encode(test["x"])[:, model.latent_dim :], axis=-1)
    z = [z_of(model, run, data) for data in (train, test)]
    plain = plain_codes(run, train, test)
    return sample_results(model, run, train, test) | {
        "accuracy_by_highest_elbo": float(np.mean(guessed == test.labels)),
        "linear_probe_on_z": linear_probe_accuracy(z[0], train.labels, z[1], test.labels),
        "linear_probe_on_plain_vaes_z": linear_probe_accuracy(
            plain[0], train.labels, plain[1], test.labels
        ),
    }


def sample_results(
    model: models.ConditionalVAE, run: Run, train: Dataset, test: Dataset
) -> dict[str, float]:
    """What a judge says of samples, beside what it says of test images and of reconstructions.

    The reconstructions are of test images, whose class is given: the decoder's share in what
    samples lack; the rest is the prior's. Diversity is measured in the classifier's features, with
    as many training images beside.
    """
    assert run.recipe.sample_prior is not None
    judge = fit_judge(train)
    key = seed_stream(run.config.seed, "results")
    codes = np.asarray(run.recipe.sample_prior(run.state.eval_params, key, SAMPLES))
    samples, asked = run.decode(codes), np.argmax(codes[:, model.latent_dim :], axis=-1)
    one_hot = np.eye(model.classes, dtype=np.float32)[test.labels]
    restored = run.decode(np.concatenate([z_of(model, run, test), one_hot], axis=-1))
    real = judge.recognised_as(test["x"], test.labels)
    features = judge.classifier.features
    seen, some = features(test["x"]), train.first(SAMPLES)
    diverse, as_training = (
        diversity(seen, test.labels, features(images), labels)
        for images, labels in ((samples, asked), (some["x"], some.labels))
    )
    found = judge.recognised_as(samples, asked)
    return {
        "samples_recognised_as_asked": found,
        "test_images_recognised": real,
        "of_what_test_images_reach": found / real,
        "reconstructions_recognised": judge.recognised_as(restored, test.labels),
        "samples_of_the_asked_class": float(np.mean(judge.classifier.classify(samples) == asked)),
        "classifier_accuracy": judge.classifier.accuracy(test),
        "coverage_by_samples": diverse["coverage"],
        "coverage_by_training_images": as_training["coverage"],
        "distance_of_samples": diverse["distance"],
        "distance_of_training_images": as_training["distance"],
    }


def z_of(model: models.ConditionalVAE, run: Run, data: Dataset) -> np.ndarray:
    """The posterior's mean of every image given its label, `[N, D]`."""
    posterior = jax.jit(partial(model.apply, method="encode"))
    images = jnp.asarray(data["x"]) / jnp.float32(255)
    return np.asarray(posterior({"params": run.state.eval_params}, images, data.labels).mean)


def plain_codes(run: Run, train: Dataset, test: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The codes of a VAE of the same nets that is not told the class, trained as long."""
    config: Any = run.config
    encoder, decoder = config.nets(run.spec["x"].shape)
    model = models.functions(models.VAE(encoder, decoder, config.latent_dim))
    loss_fn = objectives.vae(model.apply, config.p_x().log_prob)
    init_key, key = jax.random.split(seed_stream(config.seed, "beside"))
    params = model.init(init_key, jnp.zeros((1, *run.spec["x"].shape)))
    state = TrainState.create(params, run.recipe.optimizer, key)
    state, _ = fit(
        state,
        loss_fn,
        run.recipe.optimizer,
        train,
        epochs=config.epochs,
        batch_size=config.batch_size,
    )
    encode = jax.jit(lambda x: model.encode(state.params, x / jnp.float32(255)).mean)
    return np.asarray(encode(train["x"][:10_000])), np.asarray(encode(test["x"][:10_000]))


def pictures(run: Run, test: Dataset) -> Iterator[tuple[str, Figure]]:
    """The figures that a run leaves."""
    config: Any = run.config
    images = figures.first_of_each_class(test, 20)
    yield "reconstructions", figures.reconstructions(images, run.reconstruct(images))
    key = seed_stream(config.seed, "pictures")
    assert run.recipe.sample_prior is not None
    codes = run.recipe.sample_prior(run.state.eval_params, key, 12 * config.classes)
    drawn = run.decode(codes).reshape(12, config.classes, *run.spec["x"].shape)
    names = run.label_names or tuple(map(str, range(config.classes)))
    rows = {name: drawn[:, label] for label, name in enumerate(names[: config.classes])}
    yield "classes", figures.named_rows(rows, "samples: a class a row, draws of z from p(z|y)")
    codes_of_test = run.encode(test["x"][:10_000])[:, : config.latent_dim]
    yield "latent", figures.latent_scatter(codes_of_test, test.labels[:10_000], test.label_names)
    if run.history:
        yield "curves", figures.curves(run.history, ("loss", "reconstruction", "kl"))


if __name__ == "__main__":
    main(Config)
