"""Updates left out because their gradient is not finite, or far larger than those before it.

As in the training of large models, a gradient is judged against the norms of its predecessors
(adaptive clipping by a quantile, Seetharaman et al. 2020, arXiv 2007.14469), but an outlier is
dropped with its batch and not scaled: a gradient that is not finite cannot be.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

WINDOW, FEWEST = 100, 20  # norms that are remembered; those that a quantile needs
QUANTILE = 0.9


class SkipState(NamedTuple):
    """The optimiser's own state, and what the gradients were like.

    Attributes:
        inner: the state of the optimiser that is guarded.
        norms: `[WINDOW]`, the norms of the last updates made, NaN where there was none yet.
        made: how many updates were made.
        skipped: how many were skipped.
        left: how many more may be skipped before one is made; -1 when that is too many.
        norm: that of the last gradient.
        limit: the norm that it could have had at most.
    """

    inner: Any
    norms: jax.Array
    made: jax.Array
    skipped: jax.Array
    left: jax.Array
    norm: jax.Array
    limit: jax.Array

    @property
    def applied(self) -> jax.Array:
        """Whether the last update was made."""
        return jnp.isfinite(self.norm) & (self.norm <= self.limit)


def skip_outliers(
    optimizer: optax.GradientTransformation, *, factor: float, patience: int
) -> optax.GradientTransformationExtraArgs:
    """The optimiser, which leaves out gradients whose norm is not finite or an outlier.

    An outlier is larger than `factor` times the 0.9 quantile of the norms of the last 100 updates
    made; before the 20th, no finite gradient is one. Neither parameters nor the optimiser's state
    change then.

    Args:
        optimizer: what is guarded: the whole chain, which sees no outlier.
        factor: how far above the quantile an outlier begins.
        patience: how many updates in a row may be skipped; see `gave_up`.
    """

    def init(params: Any) -> SkipState:
        zero, none = jnp.zeros((), jnp.int32), jnp.full(WINDOW, jnp.nan, jnp.float32)
        left = jnp.full((), patience, jnp.int32)
        norm, limit = jnp.zeros((), jnp.float32), jnp.full((), jnp.inf, jnp.float32)
        return SkipState(optimizer.init(params), none, zero, zero, left, norm, limit)

    inside = optax.with_extra_args_support(optimizer)

    def update(
        grads: Any, state: SkipState, params: Any = None, **others: Any
    ) -> tuple[Any, SkipState]:
        norm = optax.tree.norm(grads).astype(jnp.float32)
        limit = jnp.where(
            state.made < FEWEST, jnp.inf, factor * jnp.nanquantile(state.norms, QUANTILE)
        )
        make = jnp.isfinite(norm) & (norm <= limit)
        updates, inner = inside.update(grads, state.inner, params, **others)
        norms = state.norms.at[state.made % WINDOW].set(norm)
        zeros = jax.tree.map(jnp.zeros_like, updates)
        updates, inner, norms = where(
            make, (updates, inner, norms), (zeros, state.inner, state.norms)
        )
        one = make.astype(jnp.int32)
        left = jnp.where(make, patience, state.left - 1).astype(jnp.int32)
        counts = (state.made + one, state.skipped + 1 - one, left)
        return updates, SkipState(inner, norms, *counts, norm, limit.astype(jnp.float32))

    return optax.GradientTransformationExtraArgs(init, update)


def where(condition: jax.Array, new: Any, old: Any) -> Any:
    """The leaves of `new` where the scalar `condition` holds, else those of `old`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def guard(opt_state: Any) -> SkipState | None:
    """The `SkipState` of an optimiser, wherever in it that stands; None if it skips nothing."""
    return _of(opt_state, SkipState)


def _of(opt_state: Any, kind: type) -> Any:
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kind))
    return next((node for node in nodes if isinstance(node, kind)), None)


def made(opt_state: Any, step: jax.Array) -> tuple[jax.Array, jax.Array] | None:
    """Whether the last update was made, and how many were, of `step` steps; None if all are.

    Of `skip_outliers` and of `optax.apply_if_finite`.
    """
    found = guard(opt_state)
    if found is not None:
        return found.applied, found.made
    finite = _of(opt_state, optax.ApplyIfFiniteState)
    return None if finite is None else (finite.last_finite, step - finite.total_notfinite)


def skipped(opt_state: Any) -> jax.Array | None:
    """How many updates were skipped; None of an optimiser that skips none."""
    found, finite = guard(opt_state), _of(opt_state, optax.ApplyIfFiniteState)
    if found is not None:
        return found.skipped
    return None if finite is None else finite.total_notfinite


def gave_up(opt_state: Any) -> jax.Array:
    """Whether more updates in a row were skipped than the patience allows."""
    found = guard(opt_state)
    return jnp.zeros((), bool) if found is None else found.left < 0


def cause(opt_state: Any) -> str:
    """Why the last update was skipped, of an optimiser that skips."""
    found = guard(opt_state)
    assert found is not None
    norm, limit = float(found.norm), float(found.limit)
    if not jnp.isfinite(norm):
        return f"the gradient's norm is {norm}"
    return f"the gradient's norm {norm:.4g} is an outlier, over {limit:.4g}"
