"""The aggregate posterior q(z), the mean of q(z|x) over the images, estimated from a minibatch."""

from typing import Any

import jax
import jax.numpy as jnp


def aggregate_log_probs(
    z: jax.Array,
    posterior: Any,
    images: int | jax.Array,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Log q(z) and log of the product of its marginals, by minibatch stratified sampling.

    Chen et al. 2018 (arXiv 1802.04942), appendix C.2: the density is unbiased over minibatches
    drawn without replacement, its logarithm is not: too high or too low, the more so the fewer the
    images of the batch beside exp(I(x; z)). (Their code has the weight of a draw's own
    posterior in the first column instead of on the diagonal.)

    Args:
        z: `[B, D]`, a draw of each image's posterior.
        posterior: q(z|x) over `[B, D]` of the same images, a pytree whose `log_prob_per_dimension`
            is that of independent dimensions.
        images: how many the data set has that the batch was drawn from, N.
        mask: `[B]`, False for rows at the end that only fill the batch.

    Returns:
        log q(z) and log prod_d q(z_d), each `[B]`, nats.

    Raises:
        ValueError: if z and the posterior differ in shape or there are fewer images than rows.
    """
    if z.shape != posterior.mean.shape or z.ndim != 2:
        raise ValueError(f"z {z.shape} and the posterior {posterior.mean.shape} are not [B, D]")
    if mask is None and isinstance(images, int) and images < len(z):
        raise ValueError(f"images {images} is less than the batch's {len(z)}: give the data's size")
    if mask is not None:
        # A row that does not count may hold a NaN, which no weight of 0 takes away.
        z = jnp.where(mask[:, None], z, 0)
        posterior = jax.tree.map(lambda a: jnp.where(mask[:, None], a, 0), posterior)
    weights = _log_weights(len(z), images, mask)
    of_each = posterior.log_prob_per_dimension(z[:, None])  # [draw, image, D]
    joint = jax.nn.logsumexp(weights + jnp.sum(of_each, axis=-1), axis=1)
    marginals = jax.nn.logsumexp(weights[..., None] + of_each, axis=1)
    return joint, jnp.sum(marginals, axis=-1)


def _log_weights(rows: int, images: int | jax.Array, mask: jax.Array | None) -> jax.Array:
    """`[draw, image]`: 1/N for its own, 1/M for M - 1 others and (N - M)/(NM) for the last."""
    count = jnp.asarray(rows) if mask is None else jnp.sum(mask)
    others = jnp.maximum(count - 1, 1).astype(jnp.float32)
    row = jnp.arange(rows)[:, None]
    column = jnp.arange(rows)[None, :]
    last = column == (row + 1) % jnp.maximum(count, 1)
    weights = jnp.where(last, (images - others) / (images * others), 1 / others)
    weights = jnp.where(column == row, 1 / images, weights)
    return jnp.where(column < count, jnp.log(weights), -jnp.inf)
