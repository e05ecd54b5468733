"""Tokens of a vocabulary, each step categorical."""

import jax
import jax.numpy as jnp

from aejax.axes import per_example, require_examples
from aejax.likelihoods.likelihood import Likelihood, as_float


def token_log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Log-probability in nats of tokens: the logit of each less the logsumexp of all, summed.

    Args:
        logits: `[B, ..., V]`, of a vocabulary of V.
        x: `[B, ...]`, integers from 0 to V - 1; another has the log-probability NaN.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes do not fit, x has no axis beside the examples', or is no integers.
    """
    if jnp.shape(logits)[:-1] != jnp.shape(x) or not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(
            f"logits {jnp.shape(logits)} are not [*{jnp.shape(x)}, V] for integer x "
            f"({x.dtype}{list(jnp.shape(x))}): give a logit for each token of the vocabulary"
        )
    require_examples("x", x)
    log_p = jax.nn.log_softmax(as_float(logits))
    chosen = jnp.take_along_axis(log_p, x[..., None], axis=-1, mode="fill")[..., 0]
    return per_example(chosen)


def tokens() -> Likelihood:
    """Tokens; the decoder's outputs are logits `[B, ..., V]`, and the mean the likeliest token."""
    return Likelihood(
        token_log_prob,
        mean=lambda logits: jnp.argmax(logits, axis=-1).astype(jnp.int32),
        sample=lambda key, logits: jax.random.categorical(key, logits).astype(jnp.int32),
    )
