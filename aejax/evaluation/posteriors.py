"""What the posteriors of a whole data set say of the latent: who is used, and what q(z) is like."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aejax.axes import per_example
from aejax.models.model import Distribution

ACTIVE = 0.01  # variance of the posterior mean over the data, above which a dimension is in use
_MEMORY = 2**26  # bytes of draws x posteriors x dimensions at a time, were none of it fused


def active_units(posterior: Any) -> jax.Array:
    """Which dimensions carry something of x: `[N, D]` of N images -> `[D]`, bool.

    Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), section 5.2: the variance over the data
    of the posterior's mean is above 0.01.

    Raises:
        ValueError: if there are fewer than two images.
    """
    if len(posterior.mean) < 2:
        raise ValueError(f"{len(posterior.mean)} images have no variance: give at least 2")
    return jnp.var(posterior.mean, axis=0, ddof=1) > ACTIVE


def aggregate_log_prob(z: jax.Array, posterior: Any) -> jax.Array:
    """Log q(z), the mean of q(z|x) over all N images: z `[M, D]` -> `[M]`, nats.

    Exact for this data set, whose images are the only ones that there are. Of the distribution
    that they come from, it is too high at draws of these images' own posteriors.
    """
    count = len(posterior.mean)

    def of_one(z: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(per_example(posterior.log_prob(z[None]))) - math.log(count)

    return jax.lax.map(of_one, z, batch_size=_at_a_time(posterior))


class AggregateBounds(NamedTuple):
    """At a draw of q(z|x) for each of M images, nats; the means bound what they are named after.

    Attributes:
        information_lower: `[M]`, of I_q(x; z), at most log N.
        information_upper: `[M]`, of I_q(x; z).
        marginal_kl_lower: `[M]`, of KL(q(z) || p(z)); below 0 it says nothing.
        marginal_kl_upper: `[M]`, of KL(q(z) || p(z)).
    """

    information_lower: jax.Array
    information_upper: jax.Array
    marginal_kl_lower: jax.Array
    marginal_kl_upper: jax.Array


def aggregate_bounds(
    posterior: Any, prior: Distribution, key: jax.Array, draws: int
) -> AggregateBounds:
    """Both parts of the mean KL, bounded from both sides by Monte Carlo.

    Hoffman & Johnson 2016, "ELBO surgery": E_x KL(q(z|x) || p(z)) = I_q(x; z) + KL(q(z) || p(z)),
    where q(z) is the mean of q(z|x) over the distribution of images. N images alone do not give it.
    Poole et al. 2019 (arXiv 1905.06922), structured bounds with a tractable encoder: with the mean
    over all N in its place, the draw's own image among them, the information is bounded from below
    (InfoNCE, never above log N); with the mean over the other N - 1, from above. The marginal KL is
    what either leaves of the mean KL, which is itself an upper bound of both parts.

    Args:
        posterior: q(z|x) over `[N, D]`, of all images, drawn independently.
        prior: p(z).
        key: a random key, used once.
        draws: M, from the posteriors of as many images, the first ones; no more than N.

    Raises:
        ValueError: if there are fewer than two images, or `draws` is not within 1 and N.
    """
    count = len(posterior.mean)
    if count < 2:
        raise ValueError(f"{count} images leave no other image: give at least 2")
    if not 1 <= draws <= count:
        raise ValueError(f"draws {draws} is not within 1 and the {count} images")
    of_draws = jax.tree.map(lambda a: a[:draws], posterior)
    z = of_draws.sample(key)
    of_all, of_others = _with_and_without_own(z, posterior)
    log_q, log_p = per_example(of_draws.log_prob(z)), per_example(prior.log_prob(z))
    return AggregateBounds(log_q - of_all, log_q - of_others, of_others - log_p, of_all - log_p)


def _with_and_without_own(z: jax.Array, posterior: Any) -> tuple[jax.Array, jax.Array]:
    """Log of the mean of q(z|x) over all images, and over those but the draw's own, `[M]` each."""
    count = len(posterior.mean)

    def of_one(draw: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        z, own = draw
        of_each = per_example(posterior.log_prob(z[None]))
        others = jnp.where(jnp.arange(count) == own, -jnp.inf, of_each)
        return (
            jax.nn.logsumexp(of_each) - math.log(count),
            jax.nn.logsumexp(others) - math.log(count - 1),
        )

    return jax.lax.map(of_one, (z, jnp.arange(len(z))), batch_size=_at_a_time(posterior))


def _at_a_time(posterior: Any) -> int:
    return max(1, _MEMORY // (4 * posterior.mean.size))
