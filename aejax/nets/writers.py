"""The decoder of sequences: cores write tracks, bar by bar where a conductor plans the bars."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aejax.nets.binding import rebound
from aejax.nets.sequences import BEFORE, Choose, Conductor, Core


class SequenceDecoder(nn.Module):
    """p(x|z) of R tracks, each of which a core of its own writes.

    Without a conductor z is the plan of the whole: the flat decoder. With one, it makes a plan of
    every bar, at whose beginning the cores' states are made anew: the hierarchical decoder (Roberts
    et al. 2018, section 3.2). Then a core knows of the bars before no more than the token just
    before its own, which crosses the bar line. All tracks have the same plans.
    """

    vocabulary: int
    tracks: int
    width: int
    layers: int
    conductor: Conductor | None = None

    def setup(self) -> None:
        core = Core(self.vocabulary, self.width, self.layers)
        self.cores = [core.clone() for _ in range(self.tracks)]

    def plans(self, z: jax.Array) -> jax.Array:
        """The plans of P parts, `[P, B, C]`, of z `[B, D]`."""
        return z[None] if self.conductor is None else self.conductor(z)

    def __call__(
        self, z: jax.Array, fed: jax.Array, conditions: jax.Array | None = None
    ) -> jax.Array:
        """The logits of every step at once, `[B, R, T, V]`.

        The parts, which know nothing of each other, become rows of the cores' batch.

        Args:
            z: `[B, D]`.
            fed: `[B, R, T]`, the token that is fed after each step: of the truth in teacher
                forcing. That of the last step is fed to none.
            conditions: `[T, B, C]`.
        """
        plans = self.plans(z)
        parts, plan = len(plans), plans.reshape(-1, plans.shape[-1])
        before = jnp.pad(fed[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=BEFORE)
        around = None if conditions is None else _side_by_side(conditions, parts)
        logits = []
        for track, core in enumerate(self.cores):
            rows = _side_by_side(before[:, track].T, parts)
            written = core(plan, rows, core.begin(plan), around)[1]
            logits.append(_one_after_the_other(written, parts))
        return jnp.stack(logits).transpose(2, 0, 1, 3)

    def write(
        self,
        z: jax.Array,
        choose: Choose,
        given: Sequence[Any],
        conditions: jax.Array | None = None,
    ) -> jax.Array:
        """Tokens `[B, R, T]`, one after the other in one loop; see `Core.write`.

        Args:
            z: `[B, D]`.
            choose: makes tokens of logits and of a step's part of `given`.
            given: for each track a pytree with T as its first axis.
            conditions: `[T, B, C]`.
        """
        plans, cores = self.plans(z), rebound(self).cores
        parts = len(plans)
        given, conditions = jax.tree.map(lambda a: _in_parts(a, parts, 0), (given, conditions))

        def write_part(before: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
            plan, given, conditions = now
            written = [
                core.write(plan, last, choose, of_track, conditions)
                for core, last, of_track in zip(cores, before, given, strict=True)
            ]
            return jnp.stack([track[-1] for track in written]), jnp.stack(written)

        first = jnp.full((self.tracks, len(z)), BEFORE, jnp.int32)
        _, written = jax.lax.scan(write_part, first, (plans, given, conditions))
        return written.transpose(3, 1, 0, 2).reshape(len(z), self.tracks, -1)


def _in_parts(a: jax.Array, parts: int, axis: int) -> jax.Array:
    """The array with one of its axes, of T, as two, of P and T / P."""
    return a.reshape(*a.shape[:axis], parts, -1, *a.shape[axis + 1 :])


def _side_by_side(a: jax.Array, parts: int) -> jax.Array:
    """Parts of time `[T, B, ...]` as rows: `[T / P, P B, ...]`."""
    apart = _in_parts(a, parts, 0).swapaxes(0, 1)
    return apart.reshape(len(apart), -1, *a.shape[2:])


def _one_after_the_other(a: jax.Array, parts: int) -> jax.Array:
    """The inverse of `_side_by_side`."""
    apart = _in_parts(a, parts, 1).swapaxes(0, 1)
    return apart.reshape(-1, *apart.shape[2:])
