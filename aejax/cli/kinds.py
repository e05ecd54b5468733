"""Flags that choose one of several dataclasses, whose own flags then stand beside the others."""

import argparse
import dataclasses
from typing import Any

from aejax.errors import UsageError


def chosen(cls: Any, argv: list[str]) -> tuple[Any, list[str]]:
    """The class with every field of `cls.kinds` narrowed to what argv names, and the other words.

    Raises:
        UsageError: for a name that there is not.
    """
    shown = cls
    for field, by_name in getattr(cls, "kinds", {}).items():
        usual = cls.__dataclass_fields__[field].default
        name, argv = _take(f"--{field}", argv, usual.name)
        if name not in by_name:
            raise UsageError(f"--{field} {name} is none of {', '.join(by_name)}")
        shown = _with_kind(shown, field, by_name[name])
    return shown, argv


def _take(flag: str, argv: list[str], default: str) -> tuple[str, list[str]]:
    """The value of a flag, and the other words."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(flag, dest="name", default=default)
    try:
        known, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        raise UsageError(f"{flag} lacks its value") from None
    return known.name, rest


def _with_kind(cls: Any, field: str, kind: Any) -> Any:
    """`cls` with the type of one field narrowed, whose flags tyro then knows."""
    narrowed = (field, kind, dataclasses.field(default=kind()))
    return dataclasses.make_dataclass(
        cls.__name__, [narrowed], bases=(cls,), frozen=True, kw_only=True
    )


def description(cls: Any, shown: Any) -> str:
    """The help's first lines: of the class, and of what is chosen by name."""
    lines = [cls.__doc__ or ""]
    for field, by_name in getattr(cls, "kinds", {}).items():
        chosen = next(f.default for f in dataclasses.fields(shown) if f.name == field)
        lines.append(f"--{field} is one of {', '.join(by_name)}; the flags here are those of")
        lines.append(f"{chosen.name}. {type(chosen).__doc__}")
    return " ".join(" ".join(lines).split())


def belongs_to(cls: Any, shown: Any, argv: list[str]) -> str | None:
    """Of a flag that another choice has: what to choose for it."""
    known = {name for f in dataclasses.fields(shown) for name in _names(f)}
    for field, by_name in getattr(cls, "kinds", {}).items():
        for word in argv:
            name = word.removeprefix("--").split("=")[0].replace("-", "_")
            of = [k for k, kind in by_name.items() if name in kind.__dataclass_fields__]
            if word.startswith("--") and of and name not in known:
                return f"{word} goes with --{field} {', '.join(of)}"
    return None


def _names(field: Any) -> list[str]:
    own = getattr(field.default, "__dataclass_fields__", {})
    return [field.name, *own]
