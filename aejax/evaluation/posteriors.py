"""What the posteriors of a whole data set say of the latent: who is used, and what q(z) is like."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from aejax.generative import Prior
from aejax.latents import DiagonalGaussian

ACTIVE = 0.01  # variance of the posterior mean over the data, above which a dimension is in use
_MEMORY = 2**26  # bytes of draws x posteriors x dimensions at a time, were none of it fused


def active_units(posterior: DiagonalGaussian) -> jax.Array:
    """Which dimensions carry something of x: `[N, D]` of N images -> `[D]`, bool.

    Burda, Grosse & Salakhutdinov 2016 (arXiv 1509.00519), section 5.2: the variance over the data
    of the posterior's mean is above 0.01.

    Raises:
        ValueError: if there are fewer than two images.
    """
    if len(posterior.mean) < 2:
        raise ValueError(f"{len(posterior.mean)} images have no variance: give at least 2")
    return jnp.var(posterior.mean, axis=0, ddof=1) > ACTIVE


def aggregate_log_prob(z: jax.Array, posterior: DiagonalGaussian) -> jax.Array:
    """Log q(z), the mean of q(z|x) over all N images: z `[M, D]` -> `[M]`, nats.

    Exact for this data set, whose images are the only ones that there are. Of the distribution
    that they come from, it is too high at draws of these images' own posteriors.
    """
    count, dim = posterior.mean.shape

    def of_one(z: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(posterior.log_prob(z[None])) - jnp.log(count)

    at_a_time = max(1, _MEMORY // (4 * count * dim))
    return jax.lax.map(of_one, z, batch_size=at_a_time)


class AggregateDraws(NamedTuple):
    """At a draw of q(z|x) for each of M images, nats.

    Attributes:
        mutual_information: log q(z|x) - log q(z), `[M]`: the mean is I_q(x; z).
        marginal_kl: log q(z) - log p(z), `[M]`: the mean is KL(q(z) || p(z)).
    """

    mutual_information: jax.Array
    marginal_kl: jax.Array


def aggregate_draws(
    posterior: DiagonalGaussian, prior: Prior, key: jax.Array, draws: int
) -> AggregateDraws:
    """The two parts of the mean KL, by Monte Carlo.

    Hoffman & Johnson 2016, "ELBO surgery": E_x KL(q(z|x) || p(z)) = I_q(x; z) + KL(q(z) || p(z)).
    The information is at most log N, and where it comes near that, it is the data set that is too
    small: what is missing from it is in the marginal KL.

    Args:
        posterior: q(z|x) over `[N, D]`, of all images.
        prior: p(z).
        key: a random key, used once.
        draws: M, from the posteriors of as many images, the first ones; no more than N.

    Raises:
        ValueError: if `draws` is not within 1 and N.
    """
    count = len(posterior.mean)
    if not 1 <= draws <= count:
        raise ValueError(f"draws {draws} is not within 1 and the {count} images")
    of_draws = DiagonalGaussian(*(a[:draws] for a in posterior))
    z = of_draws.sample(key)
    log_q = aggregate_log_prob(z, posterior)
    return AggregateDraws(of_draws.log_prob(z) - log_q, log_q - prior.log_prob(z))
