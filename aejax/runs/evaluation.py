"""What `evaluate` measures of a variational autoencoder, with standard errors."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.bounds import iwae_bound
from aejax.data.dataset import ImageDataset, as_float
from aejax.divergences import (
    gaussian_kl_per_dimension,
    inverse_multiquadric,
    squared_mmd,
)
from aejax.errors import UsageError
from aejax.evaluation.annealed import annealed_importance, sigmoidal_schedule
from aejax.evaluation.bidirectional import bidirectional_bounds
from aejax.evaluation.classifier import train_classifier
from aejax.evaluation.features import frechet_distance, kernel_distance
from aejax.evaluation.importance import importance_estimate, sample_bytes
from aejax.evaluation.mean import mean_and_error
from aejax.evaluation.posteriors import active_units, aggregate_draws
from aejax.evaluation.probes import knn_accuracy, linear_probe_accuracy
from aejax.generative import LatentVariableModel
from aejax.latents import DiagonalGaussian
from aejax.metrics import psnr, ssim
from aejax.runs.run import Run

Results = dict[str, Any]
_PROBED = 10_000  # images that probes, q(z) and distances between sets of images are made of
_COMPARED = 2000  # codes and draws of the prior
_CHAINS = 16  # of annealed importance sampling, for each image
_ANNEALED = 64  # images that are annealed at a time
_STREAM = np.uint32(2**32 - 3)  # away from the streams of training states


def evaluation_keys(seed: int) -> dict[str, jax.Array]:
    """A key for each part of an evaluation, apart from those of a training of the same seed."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed} is not within 0 and 2^32 - 1")
    names = ("likelihood", "annealing", "latent", "samples")
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), _STREAM), len(names))
    return dict(zip(names, keys, strict=True))


def likelihood_results(
    run: Run, test: ImageDataset, key: jax.Array, *, samples: int, memory: float | None
) -> Results:
    """Log p(x) by importance sampling, and the ELBO by the same draws; nats per image.

    Bits a dimension are of the model's own p(x): of a density where the likelihood is one.

    Raises:
        UsageError: if the run's model is no variational autoencoder, or for fewer than two images.
    """
    model, params = latent_variable_model(run), run.state.params
    if len(test) < 2:
        raise UsageError(f"{len(test)} images have no standard error: give a --split of 2 or more")
    x = as_float(jnp.asarray(test.images))
    least = sample_bytes(model, params, x[:1])
    if memory is not None and memory < least:
        raise UsageError(f"--eval-memory is too small for one draw of {least / 2**20:.1f} MiB")
    estimate = jax.jit(partial(importance_estimate, model, samples=samples, memory=memory))
    found = estimate(params, x, key)
    bits = -np.asarray(found.log_likelihood) / (math.prod(test.image_shape) * math.log(2))
    return {
        "log_likelihood": mean_and_error(found.log_likelihood)._asdict(),
        "log_likelihood_samples": samples,
        "sampled_elbo": mean_and_error(found.elbo)._asdict(),
        "bits_per_dim": mean_and_error(bits)._asdict(),
    }


def annealing_results(
    run: Run, test: ImageDataset, key: jax.Array, *, steps: int, images: int
) -> Results:
    """Log p(x) of the first images by annealed importance sampling from q(z|x).

    Beside it, on as many images that the model makes itself, the gap between the bounds of log p(x)
    from both sides: how far the annealing may be off.

    Raises:
        UsageError: if the run's model is no variational autoencoder, or for fewer than two images.
    """
    model, params = latent_variable_model(run), run.state.params
    if images < 2:
        raise UsageError(f"--annealing-images {images} is less than 2: an error needs two")
    x = as_float(jnp.asarray(test.images[:images]))
    betas = sigmoidal_schedule(steps)

    @jax.jit
    def on_images(x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        initial = model.encode(params, x)
        found = annealed_importance(model, params, x, initial, key, chains=_CHAINS, betas=betas)
        return iwae_bound(found.log_weights), jnp.mean(found.acceptance, axis=0)

    @jax.jit
    def on_draws(z: jax.Array, key: jax.Array) -> jax.Array:
        initial = partial(model.encode, params)
        return bidirectional_bounds(model, params, z, initial, key, chains=_CHAINS, betas=betas).gap

    prior_key, *keys = jax.random.split(key, 3)
    made = model.prior(params).samples(prior_key, len(x))
    log_likelihood, acceptance = _by_images(on_images, x, keys[0])
    gap = _by_images(on_draws, made, keys[1])
    return {
        "annealed_log_likelihood": mean_and_error(log_likelihood)._asdict(),
        "annealed_images": len(x),
        "annealed_steps": steps,
        "annealed_acceptance": float(np.mean(acceptance)),
        "bidirectional_gap": mean_and_error(gap)._asdict(),
    }


def latent_results(run: Run, test: ImageDataset, key: jax.Array) -> Results:
    """How the latent is used, and how near q(z) is to p(z); nats."""
    model = latent_variable_model(run)
    draw_key, code_key, prior_key, other_key = jax.random.split(key, 4)
    posterior = posteriors(run, test.images[:_PROBED])
    kl = np.asarray(gaussian_kl_per_dimension(*posterior))
    prior = model.prior(run.state.params)
    draws = aggregate_draws(posterior, prior, draw_key, min(_COMPARED, len(kl)))
    some = DiagonalGaussian(*(a[:_COMPARED] for a in posterior))
    codes = some.sample(code_key)
    first, second = (prior.samples(k, len(codes)) for k in (prior_key, other_key))
    kernel = inverse_multiquadric(2 * codes.shape[-1])
    return {
        "kl_to_standard_normal": mean_and_error(kl.sum(axis=-1))._asdict(),
        "kl_per_dimension": [float(v) for v in kl.mean(axis=0)],
        "active_units": int(active_units(posterior).sum()),
        "aggregate_mutual_information": mean_and_error(draws.mutual_information)._asdict(),
        "aggregate_kl": mean_and_error(draws.marginal_kl)._asdict(),
        "code_mmd": float(squared_mmd(codes, first, kernel)),
        "code_mmd_of_the_prior_itself": float(squared_mmd(second, first, kernel)),
    }


def restoration_results(run: Run, test: ImageDataset) -> Results:
    """PSNR in dB and SSIM of the reconstructions, at the posterior's mean."""
    images = test.images[:_PROBED]
    x, restored = as_float(jnp.asarray(images)), jnp.asarray(run.reconstruct(images))
    results = {"psnr": mean_and_error(psnr(restored, x))._asdict()}
    if min(test.image_shape[:2]) >= 11:  # SSIM's window
        results["ssim"] = mean_and_error(ssim(restored, x))._asdict()
    return results


def class_results(run: Run, train: ImageDataset, test: ImageDataset, key: jax.Array) -> Results:
    """What codes know of the class, and how far samples are from the images by a classifier.

    The samples are means of p(x|z), and so compared with the images as they are, not with what a
    model of binary images observes. Nothing for images without labels.
    """
    if not (train.labelled and test.labelled):
        return {}
    train, test = train.first(_PROBED), test.first(_PROBED)
    codes = [run.encode(run.recipe.observe(data).images) for data in (train, test)]
    pairs = codes[0], train.labels, codes[1], test.labels
    classifier = train_classifier(train)
    features = [classifier.features(x) for x in (test.images, run.sample(key, len(test)))]
    accuracies = {
        "linear_probe_accuracy": linear_probe_accuracy(*pairs),
        "knn_accuracy": knn_accuracy(*pairs),
        "classifier_accuracy": classifier.accuracy(test),
    }
    return {name: _share(value, len(test)) for name, value in accuracies.items()} | {
        "classifier": classifier.fingerprint,
        "classifier_frechet_distance": frechet_distance(features[0], features[1]),
        "classifier_kernel_distance": kernel_distance(features[0], features[1]),
    }


def latent_variable_model(run: Run) -> LatentVariableModel:
    """The functions of a run's variational autoencoder.

    Raises:
        UsageError: if it is none.
    """
    model = run.recipe.latent_variable_model
    if model is None:
        raise UsageError(
            f"the run of {run.config.name}.py is no variational autoencoder with a density p(x|z): "
            "its likelihood cannot be evaluated"
        )
    return model


def posteriors(run: Run, images: np.ndarray) -> DiagonalGaussian:
    """q(z|x) of images `[N, H, W, C]`, over `[N, D]`."""
    model = latent_variable_model(run)
    both = run.by_rows(lambda params, x: jnp.stack(model.encode(params, x), axis=1), images)
    return DiagonalGaussian(jnp.asarray(both[:, 0]), jnp.asarray(both[:, 1]))


def _share(value: float, count: int) -> Results:
    return {"mean": value, "error": math.sqrt(value * (1 - value) / count)}


def _by_images(function: Any, x: jax.Array, key: jax.Array) -> Any:
    """A function of (rows, key) on all rows, as many chains at a time as memory bears."""
    parts = range(0, len(x), _ANNEALED)
    keys = jax.random.split(key, len(parts))
    found = [function(x[i : i + _ANNEALED], k) for i, k in zip(parts, keys, strict=True)]
    return jax.tree.map(lambda *a: np.concatenate(a), *found)
