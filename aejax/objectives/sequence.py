"""What MusicVAE minimises (Roberts et al. 2018, arXiv 1803.05428), and tunes in other keys."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from aejax.likelihoods import token_log_prob
from aejax.models.model import Bound
from aejax.music.tokens import HOLD
from aejax.music.transposition import transposed, turned_pitch_classes, within_range
from aejax.objectives.objective import Objective, Terms
from aejax.objectives.reconstruction import Around
from aejax.settings import setting
from aejax.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceElbo(Objective):
    """-E[log p(x|z)] + beta max(KL - free bits, 0), nats, for each example by itself.

    Of a `models.SequenceVAE`. The KL's weight and what is free of it are those of Magenta's code;
    in training the decoder is fed its own draws more and more (Bengio et al. 2015, arXiv
    1506.03099, inverse sigmoid decay), in an evaluation the truth. Accuracies are of the likeliest
    token, a share of each example's steps.
    """

    name: ClassVar[str] = "sequence_elbo"
    rank_by: ClassVar[str] = "elbo"
    beta: float = setting(0.2, at_least=0)
    """Weight of the KL at the end of its rise."""
    beta_rate: float = setting(0.999, at_least=0, below=1)
    """The weight at a step is (1 - beta_rate^step) beta; 0: it does not rise."""
    free_bits: float = setting(0.0, at_least=0)
    """Bits of an example's KL that cost nothing."""
    sampling_rate: int | None = setting(None, at_least=1)
    """k of scheduled sampling: at step i a token fed is a draw of the decoder's own with the chance
    1 - k / (k + exp(i / k)). Default: all are the truth."""

    def weight(self, step: jax.Array) -> jax.Array:
        """The KL's weight at a step."""
        # 1 - rate^step = -expm1(step log rate) keeps its digits where the rate is near 1.
        return -self.beta * jnp.expm1(xlogy(step, self.beta_rate))

    def charge(self, kl: jax.Array) -> jax.Array:
        """What an example's KL costs before it is weighed, nats."""
        return jnp.maximum(kl - self.free_bits * math.log(2), 0)

    def chance(self, step: jax.Array) -> jax.Array:
        """That a token fed is the decoder's own draw."""
        k = float(self.sampling_rate or math.inf)
        # exp(i / k) / (k + exp(i / k)), without an overflow.
        return jax.nn.sigmoid(step / k - math.log(k))

    def terms(self, model: Any, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """The loss, log-likelihood and KL, and what tokens are measured by."""
        code_key, feed_key = jax.random.split(key)
        posterior, x, fed = model.posterior(batch), batch["x"], None
        z = posterior.sample(code_key)
        if self.sampling_rate is not None and batch.get("train", True):
            fed = model.fed(batch, z, feed_key, self.chance(step))
        logits = model.logits(batch, z, fed)
        log_likelihood = token_log_prob(logits, x)
        kl = posterior.kl(model.prior(batch))
        loss = self.weight(step) * self.charge(kl) - log_likelihood
        return Terms(loss=loss, log_likelihood=log_likelihood, kl=kl) | {
            "kl_bits": kl / math.log(2),
            "nats_per_token": -log_likelihood / (x.size // len(x)),
            **accuracies(logits, x),
        }


def accuracies(logits: jax.Array, x: jax.Array) -> Terms:
    """Of the likeliest tokens of `[B, ..., V]` the share that is x, of all and of others than hold.

    An example of nothing but hold has no others, and counts as 0 there.
    """
    right = (jnp.argmax(logits, axis=-1) == x).reshape(len(x), -1)
    other = (x != HOLD).reshape(len(x), -1)
    count = jnp.maximum(jnp.sum(other, axis=1), 1)
    non_hold = jnp.sum(right & other, axis=1) / count
    return Terms(accuracy=jnp.mean(right, axis=1), accuracy_non_hold=non_hold)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transposed(Around):
    """An objective on tunes that are moved by some semitones, afresh at every step of training.

    All tracks of an example are moved alike, and not beyond the piano; an evaluation has them as
    they are.
    """

    most: int
    """Semitones up or down, at most."""
    pitch_classes: tuple[str, ...] = ()
    """Arrays `[B, ..., 12]` of the batch that are moved along: sets of pitch classes."""

    def terms(self, model: Bound, batch: Batch, key: jax.Array, step: jax.Array) -> Terms:
        """Those of the objective."""
        if not batch.get("train", True):
            return self.objective.terms(model, batch, key, step)
        loss_key, key = jax.random.split(key)
        drawn = jax.random.randint(key, (len(batch["x"]),), -self.most, self.most + 1)
        semitones = within_range(batch["x"], drawn)
        moved = {n: turned_pitch_classes(batch[n], semitones) for n in self.pitch_classes}
        moved["x"] = transposed(batch["x"], semitones)
        return self.objective.terms(model, batch | moved, loss_key, step)
