"""Log p(x) and the ELBO from any number of draws of q(z|x), a bounded number of them at a time."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aejax.evaluation.chunks import chunk_sizes, row_bytes, rows_within
from aejax.evaluation.varying import varying_as
from aejax.models.model import Bound, Model, log_joint, log_q
from aejax.types import Batch, Variables


class ImportanceEstimate(NamedTuple):
    """What K draws of q(z|x) say of each image, `[N]`, nats.

    Attributes:
        log_likelihood: log of the mean weight: a lower bound of log p(x) in expectation, which
            comes to it as K grows.
        elbo: mean of the log weights.
    """

    log_likelihood: jax.Array
    elbo: jax.Array


class Running(NamedTuple):
    """Log weights seen so far, by image: the greatest, sum of w / greatest, sum of log w; `[B]`."""

    greatest: jax.Array
    scaled_sum: jax.Array
    sum_of_logs: jax.Array

    @classmethod
    def of_none(cls, like: jax.ShapeDtypeStruct) -> "Running":
        """Nothing seen yet of images whose log weights are of a type, `[B]`."""
        zeros = jnp.zeros(like.shape, like.dtype)
        return cls(*varying_as(like, (zeros - jnp.inf, zeros, zeros)))

    def add(self, log_weights: jax.Array, counted: jax.Array) -> "Running":
        """With the log weights `[S, B]` of S more samples, those that are `counted`, `[S]` bool."""
        mask = counted[:, None]
        seen = jnp.where(mask, log_weights, -jnp.inf)
        greatest = jnp.maximum(self.greatest, jnp.max(seen, axis=0))
        # Weights of zero only: any finite shift does, and -inf - -inf would be NaN.
        shift = jnp.where(jnp.isneginf(greatest), 0, greatest)
        # log sum w = m + log sum w / e^m with m the greatest: no weight overflows, and the sum is
        # rounded relative to itself, however many chunks there are.
        scaled = jnp.sum(jnp.exp(seen - shift[None]), axis=0)
        scaled += self.scaled_sum * jnp.exp(self.greatest - shift)
        logs = self.sum_of_logs + jnp.sum(jnp.where(mask, log_weights, 0), axis=0)
        return Running(greatest, scaled, logs)

    def estimate(self, count: int) -> ImportanceEstimate:
        """What `count` samples say, once all are added."""
        log_sum = self.greatest + jnp.log(self.scaled_sum)
        return ImportanceEstimate(log_sum - math.log(count), self.sum_of_logs / count)


def importance_estimate(
    model: Model,
    variables: Variables,
    batch: Batch,
    key: jax.Array,
    *,
    samples: int,
    memory: float | None = None,
) -> ImportanceEstimate:
    """Log p(x) of each image by importance sampling from q(z|x).

    Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519): L_K, with K = 5,000 the estimate of
    log p(x). A loop over images and one over their samples, in one compiled program:
    `jax.jit(partial(importance_estimate, model, samples=5000))` is a function of
    (variables, batch, key).

    A sample's noise depends on the key, the image's place and the sample's number only, so that
    another `memory` gives the same estimates up to rounding, and more samples add to the fewer.

    Args:
        model: its q(z|x) and p(x, z).
        variables: the model's.
        batch: N examples, as the model takes them.
        key: a random key, used once.
        samples: K, draws of q(z|x) for each image.
        memory: bytes that one chunk of images x samples may take. By default 2^29 on the CPU,
            some thousand draws of a dense decoder, and 2^30 elsewhere.

    Raises:
        ValueError: if there are no samples or images, or `memory` does not hold one sample.
    """
    if memory is None:
        memory = 2**29 if jax.default_backend() == "cpu" else 2**30
    count = len(batch["x"])
    rows = rows_within(memory, sample_bytes(model, variables, batch))
    at_a_time = chunk_sizes(rows, count, samples)
    bound = model.bind(variables)

    def of_images(numbers: jax.Array) -> ImportanceEstimate:
        # Past the last image, the last again.
        taken = jnp.minimum(numbers, count - 1)
        part = {key: jnp.asarray(values)[taken] for key, values in batch.items()}
        posterior = bound.posterior(part)
        image_keys = jax.vmap(partial(jax.random.fold_in, key))(numbers)

        def weigh(keys: jax.Array) -> jax.Array:
            return log_weights_at(bound, part, posterior, keys)

        def add(running: Running, numbers: jax.Array) -> tuple[Running, None]:
            keys = _keys_of_samples(image_keys, numbers)
            weights = weigh(keys)
            return running.add(weights, numbers < samples), None

        numbers_of_samples = _numbered(samples, at_a_time.samples)
        like = jax.eval_shape(lambda: weigh(image_keys[None])[0])
        running, _ = jax.lax.scan(add, Running.of_none(like), numbers_of_samples)
        return running.estimate(samples)

    estimates = jax.lax.map(of_images, _numbered(count, at_a_time.images))
    return jax.tree.map(lambda a: a.reshape(-1)[:count], estimates)


def log_weights_at(bound: Bound, batch: Batch, posterior: Any, keys: jax.Array) -> jax.Array:
    """Log p(x, z) - log q(z|x) in nats at a draw of q(z|x) for each key.

    Args:
        bound: the model's p(x, z).
        batch: of B examples.
        posterior: q(z|x) over `[B, D]`.
        keys: `[S, B]`, random keys, each used once.

    Returns:
        `[S, B]`.
    """
    draw = jax.vmap(lambda q, key: q.sample(key))
    z = jax.vmap(draw, in_axes=(None, 0))(posterior, keys)
    return log_joint(bound, batch, z) - log_q(posterior, z)


def sample_bytes(model: Model, variables: Variables, batch: Batch) -> int:
    """Bytes that one more sample of one example of the batch adds to a chunk: `row_bytes`."""
    bound, first = model.bind(variables), {k: jnp.asarray(v)[:1] for k, v in batch.items()}
    posterior = bound.posterior(first)

    def of_samples(count: int) -> jax.Array:
        keys = jax.random.split(jax.random.key(0), (count, 1))
        return log_weights_at(bound, first, posterior, keys)

    return row_bytes(of_samples)


def _keys_of_samples(image_keys: jax.Array, numbers: jax.Array) -> jax.Array:
    """Keys `[B]` and the numbers of samples `[S]` -> keys `[S, B]`."""
    of_images = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    return jax.vmap(of_images, in_axes=(None, 0))(image_keys, numbers)


def _numbered(count: int, at_a_time: int) -> jax.Array:
    """0, 1, ... in rows of `at_a_time`, the last row running past `count`."""
    rows = -(-count // at_a_time)
    return jnp.arange(rows * at_a_time).reshape(rows, at_a_time)
