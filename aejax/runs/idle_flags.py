"""Flags that act with some value of another one only, and the refusal of one that would not act."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from aejax.errors import UsageError
from aejax.settings import flag


class With(NamedTuple):
    """A field acts where another one has one of these values; see a class's `acts`."""

    field: str
    values: tuple[Any, ...]

    def holds(self, flags: Any) -> bool:
        """Whether it does in this instance of a dataclass of flags."""
        return getattr(flags, self.field) in self.values

    def __str__(self) -> str:
        return f"goes with {_spelled(self.field, self.values)}"


class Without(NamedTuple):
    """A field acts where another one has none of these values; see a class's `acts`."""

    field: str
    values: tuple[Any, ...]

    def holds(self, flags: Any) -> bool:
        """Whether it does in this instance of a dataclass of flags."""
        return getattr(flags, self.field) not in self.values

    def __str__(self) -> str:
        if self.values == (None,):
            return f"needs {flag(self.field)}"
        return f"does not go with {_spelled(self.field, self.values)}"


Conditions = Mapping[str, With | Without]  # by field


def idle(flags: Any) -> dict[str, With | Without]:
    """The fields that change nothing in this instance, and what each would need."""
    acts = getattr(flags, "acts", {})
    return {name: needed for name, needed in acts.items() if not needed.holds(flags)}


def check_idle(flags: Any) -> None:
    """Raises a `UsageError` for the first field that was given and would change nothing."""
    defaults = {field.name: field.default for field in dataclasses.fields(flags)}
    for name, needed in idle(flags).items():
        value = getattr(flags, name)
        if value != defaults[name]:
            raise UsageError(f"{_spelled(name, (value,))} {needed}")


def _spelled(field: str, values: tuple[Any, ...]) -> str:
    """A flag with the values as one types them."""
    if values == (True,):
        return flag(field)
    words = (" ".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values)
    return f"{flag(field)} {' or '.join(words)}"
