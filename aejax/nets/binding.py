"""Flax modules bound to their variables."""

from typing import Any


def rebound(bound: Any) -> Any:
    """The same bound model for use within a JAX transformation, which Flax's own does not bear."""
    model, variables = bound.unbind()
    return model.bind(variables)
