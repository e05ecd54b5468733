"""Log p(x) of a trained variational autoencoder, by importance sampling and by annealing."""

import math
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.bounds import iwae_bound
from aejax.data.dataset import Dataset, as_batch
from aejax.dequantization import dequantize
from aejax.errors import UsageError
from aejax.evaluation.annealed import annealed_importance, sigmoidal_schedule
from aejax.evaluation.bidirectional import bidirectional_bounds
from aejax.evaluation.importance import importance_estimate, sample_bytes
from aejax.evaluation.mean import mean_and_error
from aejax.flops import matmul_flops, matmul_peak
from aejax.likelihoods.likelihood import LEVELS
from aejax.metrics import bits_per_dim
from aejax.models.model import Model
from aejax.runs.run import Run
from aejax.types import Batch, Variables

Results = dict[str, Any]
_CHAINS = 16  # of annealed importance sampling, for each image
_ANNEALED = 64  # images that are annealed at a time


def likelihood_results(
    run: Run, test: Dataset, key: jax.Array, *, samples: int, memory: float | None
) -> Results:
    """Log p(x) by importance sampling, and the ELBO by the same draws; nats per image.

    Beside them a figure per dimension under the name of what it can be compared with.

    Raises:
        UsageError: if the run's model is no variational autoencoder, or for fewer than two images.
    """
    model, variables = variational_model(run), run.variables
    batch, key = observed(run, test, key)
    least = sample_bytes(model, variables, batch)
    if memory is not None and memory < least:
        raise UsageError(f"--eval-memory is too small for one draw of {least / 2**20:.1f} MiB")
    estimate = jax.jit(partial(importance_estimate, model, samples=samples, memory=memory))
    compiled = estimate.lower(variables, batch, key).compile()
    begun = time.perf_counter()
    found = jax.block_until_ready(compiled(variables, batch, key))
    seconds = time.perf_counter() - begun
    return per_dimension(run, test, found.log_likelihood) | {
        "log_likelihood": mean_and_error(found.log_likelihood)._asdict(),
        "log_likelihood_samples": samples,
        "sampled_elbo": mean_and_error(found.elbo)._asdict(),
        "log_likelihood_seconds": seconds,
        "log_likelihood_of_matmul_peak": _decoded(model, variables, samples, batch) / seconds,
    }


def per_dimension(run: Run, test: Dataset, log_likelihood: jax.Array) -> Results:
    """Log p(x) `[N]` per dimension, by the name of its kind, or what it cannot be compared with."""
    likelihood, dims = variational_model(run).likelihood, math.prod(test.spec["x"].shape)
    bits = bits_per_dim(-log_likelihood, dims)
    if likelihood is None or likelihood.levels or np.issubdtype(test.spec["x"].dtype, np.integer):
        return {"bits_per_dim": mean_and_error(bits)._asdict()}
    if likelihood.binary and np.isin(test["x"], (0, 255)).all():
        return {"bits_per_binary_pixel": mean_and_error(bits)._asdict()}
    if likelihood.binary:
        return {
            "log_likelihood_caveat": "a Bernoulli of grey pixels is no density: compare it with "
            "nothing but others of its kind, or give --likelihood continuous_bernoulli"
        }
    if run.config.dequantized:
        return {
            "bits_per_dim_caveat": "an upper bound of the bits, by a density of dequantized pixels",
            "bits_per_dim": mean_and_error(bits + math.log2(LEVELS))._asdict(),
        }
    nats = -log_likelihood / dims
    return {
        "log_likelihood_caveat": "a density of 256 levels can be as high as one likes: compare it "
        "with no bits of discrete likelihoods, or train with --dequantize",
        "nats_per_dim_of_density": mean_and_error(nats)._asdict(),
    }


def observed(run: Run, data: Dataset, key: jax.Array) -> tuple[Batch, jax.Array]:
    """Examples as the run's likelihood takes them, and a key for what comes after."""
    batch = as_batch({name: jnp.asarray(values) for name, values in data.items()})
    if not run.config.dequantized:
        return batch, key
    key, image_key = jax.random.split(key)
    return batch | {"x": dequantize(image_key, batch["x"])}, key


def _decoded(model: Model, variables: Variables, samples: int, batch: Batch) -> float:
    """Seconds that the decoder's products would take at the peak of a large product."""
    first = {name: values[:1] for name, values in batch.items()}
    z = model.posterior(variables, first).mean
    flops = matmul_flops(model.log_likelihood, variables, first, z)
    return flops * samples * len(batch["x"]) / (matmul_peak() * 1e9)


def annealing_results(
    run: Run, test: Dataset, key: jax.Array, *, steps: int, images: int
) -> Results:
    """Log p(x) of the first images by annealed importance sampling from q(z|x).

    Beside it, on as many images that the model makes itself, the gap between the bounds of log p(x)
    from both sides: how far the annealing may be off.

    Raises:
        UsageError: if the run's model is no variational autoencoder, or for fewer than two images.
    """
    model, variables = variational_model(run), run.variables
    if images < 2:
        raise UsageError(f"--annealing-images {images} is less than 2: an error needs two")
    batch, key = observed(run, test.first(images), key)
    betas = sigmoidal_schedule(steps)

    @jax.jit
    def on_images(batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        initial = model.posterior(variables, batch)
        found = annealed_importance(
            model, variables, batch, initial, key, chains=_CHAINS, betas=betas
        )
        return iwae_bound(found.log_weights), jnp.mean(found.acceptance, axis=0)

    @jax.jit
    def on_draws(z: jax.Array, key: jax.Array) -> jax.Array:
        initial = partial(model.posterior, variables)
        return bidirectional_bounds(
            model, variables, z, initial, key, chains=_CHAINS, betas=betas
        ).gap

    prior_key, *keys = jax.random.split(key, 3)
    count = len(batch["x"])
    made = model.prior(variables, None).samples(prior_key, count)
    log_likelihood, acceptance = _by_images(on_images, batch, keys[0])
    gap = _by_images(on_draws, made, keys[1])
    return {
        "annealed_log_likelihood": mean_and_error(log_likelihood)._asdict(),
        "annealed_images": count,
        "annealed_steps": steps,
        "annealed_acceptance": float(np.mean(acceptance)),
        "bidirectional_gap": mean_and_error(gap)._asdict(),
    }


def variational_model(run: Run) -> Model:
    """The model of a run, a variational autoencoder.

    Raises:
        UsageError: if it is none.
    """
    if not run.recipe.has_likelihood:
        raise UsageError(
            f"the run of {run.config.name}.py is no variational autoencoder with a density p(x|z): "
            "its likelihood cannot be evaluated"
        )
    return run.recipe.model


def _by_images(function: Any, rows: Any, key: jax.Array) -> Any:
    """A function of (rows, key) on all rows, as many chains at a time as memory bears."""
    parts = range(0, len(jax.tree.leaves(rows)[0]), _ANNEALED)
    keys = jax.random.split(key, len(parts))
    some = [jax.tree.map(lambda a, i=i: a[i : i + _ANNEALED], rows) for i in parts]
    found = [function(part, k) for part, k in zip(some, keys, strict=True)]
    return jax.tree.map(lambda *a: np.concatenate(a), *found)
