"""The one place where the library knows of the experiments."""

import importlib
import re
from typing import Any

from aejax.errors import UsageError


def experiment_config(name: str) -> Any:
    """The `Config` class of an experiment of `aejax.experiments`.

    Raises:
        UsageError: if there is none of that name, or it cannot be imported.
    """
    # The name comes from a file: only a module of our own experiments is ever imported.
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"{name!r} is no name of an experiment")
    try:
        return importlib.import_module(f"aejax.experiments.{name}").Config
    except ModuleNotFoundError as error:
        raise UsageError(
            f"experiment {name!r} cannot be imported ({error}): give load_run its Config"
        ) from error
