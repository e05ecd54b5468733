"""The discriminator's and the encoder's objectives in an adversarial autoencoder.

The model has two methods more: `discriminate`, codes `[B, D]` -> the logits `[B]` of being draws of
the prior, and a prior of N codes.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from aejax.objectives.objective import Objective, Terms
from aejax.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Discriminator(Objective):
    """-log D(z) - log(1 - D(code)), with z from the prior; no gradient reaches the codes.

    Goodfellow et al. 2014 (arXiv 1406.2661), equation 1. With logits l, -log sigmoid(l) =
    softplus(-l) and -log(1 - sigmoid(l)) = softplus(l), finite at any finite logit.
    """

    variational: ClassVar[bool] = False

    def terms(self, model: Any, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """`discriminator`, 2 ln 2 where D knows nothing, and the share that it tells rightly."""
        codes = jax.lax.stop_gradient(model.posterior(batch).mean)
        on_prior = model.discriminate(model.prior().samples(key, len(codes)))
        on_codes = model.discriminate(codes)
        loss = jax.nn.softplus(-on_prior) + jax.nn.softplus(on_codes)
        right = 0.5 * ((on_prior > 0).astype(jnp.float32) + (on_codes < 0).astype(jnp.float32))
        return Terms(loss=loss, discriminator=loss, discriminator_accuracy=right)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator(Objective):
    """-log D(code): the encoder makes its codes pass for the prior's.

    The form that does not saturate, Goodfellow et al. 2014, section 3.
    """

    variational: ClassVar[bool] = False

    def terms(self, model: Any, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """`generator`, ln 2 where D knows nothing."""
        loss = jax.nn.softplus(-model.discriminate(model.posterior(batch).mean))
        return Terms(loss=loss, generator=loss)
