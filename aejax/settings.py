"""Fields of dataclasses that say what they may be: their range, and whether a resume changes it."""

import dataclasses
import math
from typing import Any, TypeVar

T = TypeVar("T")


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    resumable: bool = False,
) -> Any:
    """A dataclass's field with a range, which `check_settings` looks at.

    Args:
        default: the value where none is given; None, where it is one, is always in range.
        at_least: the smallest value.
        above: what it is greater than.
        at_most: the largest value.
        below: what it is less than.
        resumable: whether another value may be given when a run is resumed.
    """
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    metadata = {"limits": given, "resumable": resumable}
    return dataclasses.field(default=default, metadata=metadata)


def check_settings(instance: Any) -> None:
    """Raises a `ValueError` for the first field of a dataclass that is out of its range.

    Every number has to be finite; a schedule in a number's place is not looked at.
    """
    for field in dataclasses.fields(instance):
        value, limits = getattr(instance, field.name), said(type(instance), field.name, "limits")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and limits is not None and not _within(value, **limits):
            raise ValueError(f"{flag(field.name)} {value} is not {_range(type(value), limits)}")


def said(cls: type, field: str, what: str) -> Any:
    """What a field says of itself, or the field that it gives another default to; else None."""
    for base in cls.__mro__:
        found = vars(base).get("__dataclass_fields__", {}).get(field)
        if found is not None and what in found.metadata:
            return found.metadata[what]
    return None


def _within(
    value: float,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> bool:
    inside = at_least <= value <= at_most and above <= value <= below
    return math.isfinite(value) and inside and value not in (above, below)


def _range(kind: type, limits: dict[str, float]) -> str:
    """The range in words."""
    if kind is int and limits == {"at_least": 1}:
        return "positive"
    if limits == {"above": 0}:
        return "a positive number"
    if not limits:
        return "finite"
    words = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}
    return "a number " + " and ".join(f"{words[k]} {v:g}" for k, v in limits.items())


def with_values(instance: T, **values: Any) -> T:
    """A copy of a frozen dataclass with other values, which are not checked.

    They may be traced, and may be attributes that are no fields.
    """
    copied = object.__new__(type(instance))
    for name, value in {**vars(instance), **values}.items():
        object.__setattr__(copied, name, value)
    return copied


def flag(field: str) -> str:
    """The flag of a field."""
    return "--" + field.replace("_", "-")
