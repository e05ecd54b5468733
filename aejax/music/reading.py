"""Reads many files in several processes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from aejax.errors import UsageError

_PROCESSES = 2
Found = TypeVar("Found")


def in_processes(
    read: Callable[..., Found], arguments: Sequence[tuple[Any, ...]], what: str
) -> Iterator[Found]:
    """What `read` makes of each of the arguments, in their order, with a bar on a terminal.

    Raises:
        UsageError: if joblib is not installed.
    """
    try:
        from joblib import Parallel, delayed
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs {error.name}: pip install 'aejax[music]'") from error
    from tqdm import tqdm

    reading = Parallel(n_jobs=_PROCESSES, return_as="generator")(
        delayed(read)(*some) for some in arguments
    )
    return iter(tqdm(reading, what, len(arguments), unit="files", disable=None, leave=False))
