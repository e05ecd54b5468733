"""Reads many files in several processes."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from aejax.errors import UsageError

_PROCESSES = 2
_CHUNK = 16  # files that are handed to a process at once; so few are read here
Found = TypeVar("Found")


def in_processes(
    read: Callable[..., Found], arguments: Sequence[tuple[Any, ...]], what: str
) -> Iterator[Found]:
    """What `read` makes of each of the arguments, in their order, with a bar on a terminal.

    Raises:
        UsageError: if loky is not installed.
    """
    try:
        # Unlike those of multiprocessing, its processes do not run the caller's script again.
        from loky import ProcessPoolExecutor
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs {error.name}: pip install 'aejax[music]'") from error
    from tqdm import tqdm

    if len(arguments) <= _CHUNK:
        yield from itertools.starmap(read, arguments)
        return
    with ProcessPoolExecutor(_PROCESSES) as pool:
        found = pool.map(read, *zip(*arguments, strict=True), chunksize=_CHUNK)
        yield from tqdm(found, what, len(arguments), unit="files", disable=None, leave=False)
