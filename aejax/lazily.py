"""Names that a package has without importing what defines them, until one is asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`.

    Args:
        package: its name.
        names: public name -> the module of the package that defines it, or "" where the name is
            itself a module.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = names[name] or name
        found = importlib.import_module(f"{package}.{module}")
        return getattr(found, name) if names[name] else found

    return find
