"""Several processes that train as one: what the first does alone, and what all must agree on.

Every process runs the same program over the same global arrays. With one process, all of this does
nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from aejax.errors import UsageError

_LONGEST = 1000  # bytes of an error's message


def several() -> bool:
    """Whether there is more than one process."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that writes logs and figures."""
    return jax.process_index() == 0


def first_alone(function: Callable[[], Any]) -> None:
    """Runs `function` in the first process, while the others wait for it.

    Raises:
        UsageError: in every process, if it raised anything in the first.
    """
    message = ""
    if is_first():
        try:
            function()
        except Exception as error:
            if not several():
                raise
            message = str(error) or type(error).__name__
    message = broadcast(message)
    if message:
        raise UsageError(message)


def broadcast(text: str) -> str:
    """The first process's text, in every process."""
    if not several():
        return text
    padded = np.zeros(_LONGEST, np.uint8)
    data = np.frombuffer(text.encode()[:_LONGEST], np.uint8)
    padded[: len(data)] = data
    found = np.asarray(multihost_utils.broadcast_one_to_all(padded))
    return found.tobytes().rstrip(b"\0").decode(errors="ignore")


def any_process(flag: int) -> int:
    """The largest of all processes' flags, in every process."""
    return int(np.max(multihost_utils.process_allgather(np.int32(flag)))) if several() else flag


def placed(tree: Any, shardings: Any) -> Any:
    """The tree laid out by `shardings`, of which every process gives the same values."""
    if not several():
        return jax.device_put(tree, shardings)
    # Other processes' devices take numpy arrays, or what is global already.
    keys = jax.tree.map(_is_key, tree)
    raw = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)
    raw = jax.tree.map(lambda a: np.asarray(a) if _is_local(a) else a, raw)

    def wrapped(raw: Any) -> Any:
        return jax.tree.map(lambda a, key: jax.random.wrap_key_data(a) if key else a, raw, keys)

    return jax.jit(wrapped, out_shardings=shardings)(raw)


def on_this_process(tree: Any, whole: jax.sharding.Sharding) -> Any:
    """A global tree as arrays of this process alone; `whole` lays everything on every device."""
    if not several():
        return tree
    everywhere = jax.jit(lambda tree: tree, out_shardings=whole)(tree)

    def own(leaf: jax.Array) -> jax.Array:
        if not _is_key(leaf):
            return jnp.asarray(leaf.addressable_data(0))
        return jax.random.wrap_key_data(jnp.asarray(jax.random.key_data(leaf).addressable_data(0)))

    return jax.tree.map(own, everywhere)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def _is_local(leaf: Any) -> bool:
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
