"""A source: splits of records that can be decoded."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data.features import Features
from aejax.errors import UsageError

Rows = range | np.ndarray
"""Numbers of records, ascending."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Data that can be decoded.

    Attributes:
        name: as a person names it.
        features: what a record has, by name.
        lengths: the number of records of each split.
        identity: what the records depend on, as JSON has it: files' sizes and times, versions.
        read: (split, rows, features) -> the records of each feature: an array `[B, ...]`, or
            arrays one after the other.
        place: (split, row) -> the record in words, for errors.
    """

    name: str
    features: Features
    lengths: Mapping[str, int]
    identity: Any
    read: Callable[[str, Rows, Sequence[str]], Mapping[str, Iterable[Any]]]
    place: Callable[[str, int], str]


def stamps(root: Path, files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Each file's place below `root`, its size and its time: other content gives others."""
    stats = ((os.path.relpath(file, root), file.stat()) for file in files)
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@contextlib.contextmanager
def readable(what: Any, cure: str) -> Iterator[None]:
    """Says in one line that something could not be read; decoders raise errors of any kind."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{what} cannot be read ({first_line(error)}): {cure}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
