"""What `evaluate` measures of a model beside its likelihood, with standard errors."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import Dataset, as_float
from aejax.divergences import inverse_multiquadric, squared_mmd
from aejax.evaluation.features import frechet_distance, kernel_distance
from aejax.evaluation.mean import mean_and_error
from aejax.evaluation.posteriors import active_units, aggregate_bounds
from aejax.evaluation.probes import knn_accuracy, linear_probe_accuracy
from aejax.judging.classifier import train_classifier
from aejax.latents import standard_normal
from aejax.metrics import psnr, ssim
from aejax.runs.log_likelihood import Results, observed, variational_model
from aejax.runs.run import Run
from aejax.streams import seed_stream

_PROBED = 10_000  # images that probes, q(z) and distances between sets of images are made of
_COMPARED = 2000  # codes and draws of the prior


def evaluation_keys(seed: int) -> dict[str, jax.Array]:
    """A key for each part of an evaluation, apart from those of a training of the same seed."""
    names = ("likelihood", "annealing", "latent", "samples")
    keys = jax.random.split(seed_stream(seed, "evaluation"), len(names))
    return dict(zip(names, keys, strict=True))


def latent_results(run: Run, test: Dataset, key: jax.Array) -> Results:
    """How the latent is used, and how near q(z) is to p(z); nats.

    I(x; z) and KL(q(z) || p(z)) between bounds, which `aggregate_images` images give: the lower one
    of the information is at most the log of their number.
    """
    model = variational_model(run)
    batch, key = observed(run, test.first(_PROBED), key)
    draw_key, code_key, prior_key, other_key = jax.random.split(key, 4)
    posterior = posteriors(run, batch)
    kl = np.asarray(posterior.kl_per_dimension(standard_normal(posterior.mean.shape[1:])))
    kl = kl.reshape(len(kl), -1)
    prior = model.prior(run.variables, None)
    bounds = aggregate_bounds(posterior, prior, draw_key, min(_COMPARED, len(kl)))
    some = jax.tree.map(lambda a: a[:_COMPARED], posterior)
    codes = some.sample(code_key)
    first, second = (prior.samples(k, len(codes)) for k in (prior_key, other_key))
    kernel = inverse_multiquadric(2 * codes.shape[-1])
    return {
        "kl_to_standard_normal": mean_and_error(kl.sum(axis=-1))._asdict(),
        "kl_per_dimension": [float(v) for v in kl.mean(axis=0)],
        "active_units": int(active_units(posterior).sum()),
        "aggregate_images": len(kl),
        "mutual_information_lower": mean_and_error(bounds.information_lower)._asdict(),
        "mutual_information_upper": mean_and_error(bounds.information_upper)._asdict(),
        "aggregate_kl_lower": mean_and_error(bounds.marginal_kl_lower)._asdict(),
        "aggregate_kl_upper": mean_and_error(bounds.marginal_kl_upper)._asdict(),
        "code_mmd": float(squared_mmd(codes, first, kernel)),
        "code_mmd_of_the_prior_itself": float(squared_mmd(second, first, kernel)),
    }


def restoration_results(run: Run, test: Dataset) -> Results:
    """PSNR in dB and SSIM of the reconstructions, at the posterior's mean."""
    images = test["x"][:_PROBED]
    x, restored = as_float(jnp.asarray(images)), jnp.asarray(run.reconstruct(images))
    results = {"psnr": mean_and_error(psnr(restored, x))._asdict()}
    if min(test.spec["x"].shape[:2]) >= 11:  # SSIM's window
        results["ssim"] = mean_and_error(ssim(restored, x))._asdict()
    return results


def class_results(run: Run, train: Dataset, test: Dataset, key: jax.Array) -> Results:
    """What codes know of the class, and how far samples are from the images by a classifier.

    The samples are means of p(x|z), and so compared with the images as they are, not with what a
    model of binary images observes. Nothing for images without labels.
    """
    if not (train.labelled and test.labelled):
        return {}
    train, test = train.first(_PROBED), test.first(_PROBED)
    codes = [run.encode(run.config.observe(data)["x"]) for data in (train, test)]
    pairs = codes[0], train.labels, codes[1], test.labels
    classifier = train_classifier(train)
    features = [classifier.features(x) for x in (test["x"], run.sample(key, len(test)))]
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


def posteriors(run: Run, rows: Mapping[str, Any]) -> Any:
    """q(z|x) of N examples, over `[N, D]`."""
    return jax.tree.map(jnp.asarray, run.by_rows(lambda bound, of: bound.posterior(of), rows))


def _share(value: float, count: int) -> Results:
    return {"mean": value, "error": math.sqrt(value * (1 - value) / count)}
