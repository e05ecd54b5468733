"""Who may write in a run directory: one process at a time, and no new run over an old one.

A run has begun once it has a line of metrics or a checkpoint. One that ends before that leaves
nothing behind, and what it was to replace is put back.
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from aejax.errors import UsageError
from aejax.runs import directory as files

_ASIDE = "overwritten"  # where a run that is replaced lies until the new one has begun
_OWN = (
    files.CONFIG,
    files.METRICS,
    files.SUMMARY,
    files.RESULTS,
    files.POPULATION,
    files.CHECKPOINTS,
    files.FIGURES,
    files.EVENTS,
    files.MEMBERS,
    files.DIGESTS,
    files.DAMAGED,
    files.LOCK,
    _ASIDE,
)
_OWN_PREFIXES = (files.EVALUATION, files.CODES)


def check_directory(directory: Path, *, resume: bool, overwrite: bool = False) -> None:
    """Raises a `UsageError` unless a run, new or resumed, may use this directory."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} exists and is no directory: give another --workdir")
    if resume:
        if not (directory / files.CONFIG).exists():
            raise UsageError(f"there is no run to resume in {directory}: leave --resume out")
        return
    begun = has_begun(directory) or has_begun(directory / _ASIDE)
    if begun and not overwrite:
        kind = "population" if (directory / files.POPULATION).exists() else "run"
        raise UsageError(
            f"{directory} already holds a {kind}: give --resume to go on with it, --overwrite to "
            "replace it, or another --workdir"
        )
    foreign = [path.name for path in _inside(directory) if not _is_own(path)]
    if foreign:
        raise UsageError(
            f"{directory} exists and holds {foreign[0]}, which is no run's: give another --workdir"
        )


def has_begun(directory: Path) -> bool:
    """Whether a run has something to keep: a line of metrics or a checkpoint."""
    metrics = directory / files.METRICS
    return bool(files.checkpoint_steps(directory)) or (
        metrics.exists() and metrics.stat().st_size > 0
    )


@contextlib.contextmanager
def claimed(directory: Path, *, resume: bool, overwrite: bool = False) -> Iterator[None]:
    """Within it, no other process may train in the directory; the system ends it with the process.

    The directory of a new run is made. If what is done within fails before the run has begun, all
    is as it was; with `overwrite` an earlier run is only deleted once the new one has begun.

    Raises:
        UsageError: if another process trains there, or it cannot be written or used.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    with contextlib.ExitStack() as stack:
        with _writable(directory, missing):
            directory.mkdir(parents=True, exist_ok=True)
            _lock(directory, stack)
        if resume:
            yield
            return
        try:
            with _writable(directory, []):
                _put_back(directory)  # of a replacement that was killed as it began
                if overwrite and has_begun(directory):
                    _move(directory, directory / _ASIDE)
                check_directory(directory, resume=False, overwrite=overwrite)
                _clear(directory, kept=(files.LOCK, _ASIDE))
            yield
        finally:
            _put_back(directory)
            if missing and not has_begun(directory):
                shutil.rmtree(missing[-1], ignore_errors=True)


def _put_back(directory: Path) -> None:
    """Puts a replaced run back, or deletes it if the new one has begun; clears what has not."""
    if has_begun(directory):
        shutil.rmtree(directory / _ASIDE, ignore_errors=True)
        return
    _clear(directory, kept=(files.LOCK, _ASIDE))
    if (directory / _ASIDE).is_dir():
        _move(directory / _ASIDE, directory)
        (directory / _ASIDE).rmdir()


def _move(source: Path, target: Path) -> None:
    """Moves what is a run's from one folder to another, its lock apart."""
    target.mkdir(exist_ok=True)
    for path in _inside(source):
        if path != target and path.name != files.LOCK and _is_own(path):
            path.rename(target / path.name)


def _clear(directory: Path, kept: tuple[str, ...]) -> None:
    """Deletes what a run that has not begun has left, but for the names that are kept."""
    for path in _inside(directory):
        if not _is_own(path) or path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _inside(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _is_own(path: Path) -> bool:
    name = path.name.removesuffix(".partial")
    return name in _OWN or name.startswith(_OWN_PREFIXES)


def _lock(directory: Path, stack: contextlib.ExitStack) -> None:
    file = stack.enter_context((directory / files.LOCK).open("a"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"another process trains in {directory}: wait for it, or give another --workdir"
        ) from None


@contextlib.contextmanager
def _writable(directory: Path, missing: list[Path]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if missing:
            shutil.rmtree(missing[-1], ignore_errors=True)
        raise UsageError(
            f"cannot write the run directory {directory} ({error.strerror}): "
            "give another --workdir, or make room"
        ) from error
