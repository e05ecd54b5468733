"""What `evaluate` measures of a variational autoencoder, with standard errors."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.bounds import iwae_bound
from aejax.data.dataset import ImageDataset, as_float
from aejax.divergences import inverse_multiquadric, squared_mmd
from aejax.errors import UsageError
from aejax.evaluation.annealed import annealed_importance, sigmoidal_schedule
from aejax.evaluation.bidirectional import bidirectional_bounds
from aejax.evaluation.classifier import train_classifier
from aejax.evaluation.features import frechet_distance, kernel_distance
from aejax.evaluation.importance import importance_estimate
from aejax.evaluation.mean import mean_and_error
from aejax.evaluation.posteriors import active_units, aggregate_draws, kl_per_dimension
from aejax.evaluation.probes import knn_accuracy, linear_probe_accuracy
from aejax.generative import LatentVariableModel
from aejax.latents import DiagonalGaussian
from aejax.metrics import psnr, ssim
from aejax.runs.run import Run

Results = dict[str, Any]
_PROBED = 10_000  # images that probes, q(z) and distances between sets of images are made of
_COMPARED = 2000  # codes and draws of the prior
_CHAINS = 16  # of annealed importance sampling, for each image


def likelihood_results(
    run: Run, test: ImageDataset, *, samples: int, memory: float | None, seed: int
) -> Results:
    """Log p(x) by importance sampling, and the ELBO by the same draws; nats per image.

    Bits a dimension are of the model's own p(x): of a density where the likelihood is one.

    Raises:
        UsageError: if the run's model is no variational autoencoder.
    """
    model = latent_variable_model(run)
    if samples < 1:
        raise UsageError(f"--samples {samples} is not positive")
    if len(test) < 2:
        raise UsageError(
            f"{len(test)} images have no standard error: give a --split of two or more"
        )
    estimate = jax.jit(partial(importance_estimate, model, samples=samples, memory=memory))
    x = as_float(jnp.asarray(test.images))
    try:
        found = estimate(run.state.params, x, jax.random.key(seed))
    except ValueError as error:
        raise UsageError(f"--eval-memory is too small: {error}") from error
    bits = -np.asarray(found.log_likelihood) / (math.prod(test.image_shape) * math.log(2))
    return {
        "log_likelihood": mean_and_error(found.log_likelihood)._asdict(),
        "log_likelihood_samples": samples,
        "sampled_elbo": mean_and_error(found.elbo)._asdict(),
        "bits_per_dim": mean_and_error(bits)._asdict(),
    }


def annealing_results(
    run: Run, test: ImageDataset, *, steps: int, images: int, seed: int
) -> Results:
    """Log p(x) of the first images by annealed importance sampling from q(z|x).

    Beside it, on as many images that the model makes itself, the gap between the bounds of log p(x)
    from both sides: how far the annealing may be off.

    Raises:
        UsageError: if the run's model is no variational autoencoder, or for fewer than two images.
    """
    model = latent_variable_model(run)
    if images < 2:
        raise UsageError(f"--annealing-images {images} is less than 2: an error needs two")
    x = as_float(jnp.asarray(test.images[:images]))

    params, betas = run.state.params, sigmoidal_schedule(steps)
    anneal = jax.jit(partial(annealed_importance, model, chains=_CHAINS))
    both_ways = jax.jit(
        lambda params, z, key: bidirectional_bounds(
            model, params, z, partial(model.encode, params), key, chains=_CHAINS, betas=betas
        )
    )
    key, prior_key, bounds_key = jax.random.split(jax.random.key(seed), 3)
    found = anneal(params, x, model.encode(params, x), key, betas=betas)
    made = model.prior(params).samples(prior_key, images)
    return {
        "annealed_log_likelihood": mean_and_error(iwae_bound(found.log_weights))._asdict(),
        "annealed_images": len(x),
        "annealed_steps": steps,
        "annealed_acceptance": float(found.acceptance.mean()),
        "bidirectional_gap": mean_and_error(both_ways(params, made, bounds_key).gap)._asdict(),
    }


def latent_results(run: Run, test: ImageDataset, seed: int) -> Results:
    """How the latent is used, and how near q(z) is to p(z); nats."""
    model, key = latent_variable_model(run), jax.random.key(seed)
    draw_key, code_key, prior_key, other_key = jax.random.split(key, 4)
    posterior = posteriors(run, test.images[:_PROBED])
    kl = np.asarray(kl_per_dimension(posterior))
    prior = model.prior(run.state.params)
    draws = aggregate_draws(posterior, prior, draw_key, min(_COMPARED, len(posterior.mean)))
    some = DiagonalGaussian(*(a[:_COMPARED] for a in posterior))
    codes, *of_prior = (
        some.sample(code_key),
        *(prior.samples(k, len(some.mean)) for k in (prior_key, other_key)),
    )
    kernel = inverse_multiquadric(2 * codes.shape[-1])
    return {
        "kl_to_standard_normal": mean_and_error(kl.sum(axis=-1))._asdict(),
        "kl_per_dimension": [float(v) for v in kl.mean(axis=0)],
        "active_units": int(active_units(posterior).sum()),
        "mutual_information": mean_and_error(draws.mutual_information)._asdict(),
        "marginal_kl": mean_and_error(draws.marginal_kl)._asdict(),
        "code_mmd": float(squared_mmd(codes, of_prior[0], kernel)),
        "code_mmd_of_the_prior_itself": float(squared_mmd(of_prior[1], of_prior[0], kernel)),
    }


def restoration_results(run: Run, test: ImageDataset) -> Results:
    """PSNR in dB and SSIM of the reconstructions, at the posterior's mean."""
    images = test.images[:_PROBED]
    x, restored = as_float(jnp.asarray(images)), jnp.asarray(run.reconstruct(images))
    results = {"psnr": mean_and_error(psnr(restored, x))._asdict()}
    if min(test.image_shape[:2]) >= 11:  # SSIM's window
        results["ssim"] = mean_and_error(ssim(restored, x))._asdict()
    return results


def class_results(run: Run, train: ImageDataset, test: ImageDataset, seed: int) -> Results:
    """What codes know of the class, and how far samples are from the images by a classifier.

    Nothing for images without labels.
    """
    if not (train.labelled and test.labelled):
        return {}
    train, test = train.first(_PROBED), test.first(_PROBED)
    pairs = run.encode(train.images), train.labels, run.encode(test.images), test.labels
    accuracies = {
        "linear_probe_accuracy": linear_probe_accuracy(*pairs),
        "knn_accuracy": knn_accuracy(*pairs),
    }
    classifier = train_classifier(train)
    samples = run.sample(jax.random.key(seed), len(test))
    features = classifier.features(test.images), classifier.features(samples)
    return {name: _share(value, len(test)) for name, value in accuracies.items()} | {
        "classifier": classifier.fingerprint,
        "classifier_accuracy": _share(classifier.accuracy(test), len(test)),
        "classifier_frechet_distance": frechet_distance(*features),
        "classifier_kernel_distance": kernel_distance(*features),
    }


def latent_variable_model(run: Run) -> LatentVariableModel:
    """The functions of a run's variational autoencoder.

    Raises:
        UsageError: if it is none.
    """
    model = run.recipe.latent_variable_model
    if model is None:
        raise UsageError(
            f"{run.config.name}.py trains no variational autoencoder with a p(x|z) q(z|x) of its "
            "own: its likelihood cannot be evaluated"
        )
    return model


def posteriors(run: Run, images: np.ndarray) -> DiagonalGaussian:
    """q(z|x) of images `[N, H, W, C]`, over `[N, D]`."""
    model = latent_variable_model(run)
    both = run.by_rows(lambda params, x: jnp.stack(model.encode(params, x), axis=1), images)
    return DiagonalGaussian(jnp.asarray(both[:, 0]), jnp.asarray(both[:, 1]))


def _share(value: float, count: int) -> Results:
    return {"mean": value, "error": math.sqrt(value * (1 - value) / count)}
