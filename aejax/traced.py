"""Numbers that stand for those of many members while a program is traced."""

from typing import Any

import jax


def is_known(value: Any) -> bool:
    """Whether a number can be looked at: one that is traced was checked before, or cannot be."""
    return not isinstance(value, jax.core.Tracer)
