"""How well a sequence VAE knows a sequence by its code: teacher-forced and running free."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.dataset import Dataset, as_batch
from aejax.likelihoods import token_log_prob
from aejax.models.model import Model
from aejax.music.tokens import HOLD
from aejax.types import Variables

_ROWS = 512  # examples at a time


class Read(NamedTuple):
    """What a model makes of N sequences by one draw of each one's code.

    Attributes:
        likeliest: `[N, ...]` as x: the likeliest token of each step that is fed those before it.
        drawn: as x: tokens drawn one after the other, each fed to the next step.
        log_likelihood: log p(x|z), `[N]`, nats.
        kl: `[N]`, nats.
    """

    likeliest: np.ndarray
    drawn: np.ndarray
    log_likelihood: np.ndarray
    kl: np.ndarray


def read(
    model: Model, variables: Variables, data: Dataset, key: jax.Array, temperature: float = 1.0
) -> Read:
    """What a `SequenceVAE` makes of a data set; draws of tokens are at that temperature."""

    @jax.jit
    def some(key: jax.Array, rows: Any) -> tuple[jax.Array, ...]:
        batch = as_batch(rows)
        bound: Any = model.bind(variables)
        code_key, draw_key = jax.random.split(key)
        posterior = bound.posterior(batch)
        z = posterior.sample(code_key)
        logits = bound.logits(batch, z)
        drawn = bound.draw(draw_key, z, batch, temperature)
        likeliest = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        kl = posterior.kl(bound.prior(batch))
        return likeliest, drawn, token_log_prob(logits, batch["x"]), kl

    starts = range(0, len(data), _ROWS)
    keys = jax.random.split(key, len(starts))
    parts = [
        jax.device_get(some(key, dict(data.rows(slice(start, start + _ROWS)).items())))
        for key, start in zip(keys, starts, strict=True)
    ]
    return Read(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def accuracy(found: np.ndarray, x: np.ndarray, name: str) -> dict[str, float]:
    """The share of tokens that are those of x, of all `NAME` and of others than hold."""
    right, other = found == x, x != HOLD
    of_others = float(right[other].mean()) if other.any() else math.nan
    return {name: float(right.mean()), f"{name}_non_hold": of_others}


def accuracy_by_bar(found: np.ndarray, x: np.ndarray, bar: int) -> list[float]:
    """The share of right tokens of each bar of `bar` steps, time being the last axis."""
    right = (found == x).reshape(*x.shape[:-1], -1, bar)
    return [float(v) for v in right.mean(axis=(*range(x.ndim - 1), x.ndim))]


def read_results(found: Read, x: np.ndarray, bar: int) -> dict[str, float]:
    """Teacher-forced and free accuracies, of a bar too, nats a token, the KL in bits."""
    named = {"teacher_forced": found.likeliest, "free": found.drawn}
    results = {
        "nats_per_token": float(-found.log_likelihood.mean() / (x.size // len(x))),
        "bound_nats_per_token": float(
            (found.kl - found.log_likelihood).mean() / (x.size // len(x))
        ),
        "kl_bits": float(found.kl.mean() / math.log(2)),
    }
    for name, tokens in named.items():
        results |= accuracy(tokens, x, f"accuracy_{name}")
    for name, tokens in named.items():
        for index, share in enumerate(accuracy_by_bar(tokens, x, bar), 1):
            results[f"accuracy_{name}_bar_{index}"] = share
    return results
