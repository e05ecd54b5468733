"""Digests of folders, by which a truncated file or a flipped byte is noticed before it is read."""

import json
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path

_DIGESTS, _METRICS = "digests", "metrics/metrics"


def digest_path(directory: Path, step: int) -> Path:
    """Where the digest of a step's folder lies in the run directory."""
    return directory / _DIGESTS / f"{step}.json"


def write_digest(folder: Path, path: Path) -> None:
    """Writes the digest of all that is in `folder`, in whole or not at all."""
    if path.parent.is_symlink():  # it would lead the writing elsewhere
        path.parent.unlink()
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.write_text(json.dumps(_digest(folder)))
    partial.replace(path)


def drop_digest(path: Path) -> None:
    """Deletes what lies in a digest's place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif not path.parent.is_symlink():  # which is somebody else's folder
        path.unlink(missing_ok=True)


def drop_digests(directory: Path, kept: Iterable[int]) -> None:
    """Deletes the digests of the steps that are not kept."""
    names = {f"{step}.json" for step in kept}
    if not (directory / _DIGESTS).is_symlink():
        for path in (directory / _DIGESTS).glob("*.json"):
            if path.name not in names:
                drop_digest(path)


def damage(folder: Path, path: Path) -> str | None:
    """What is wrong with a folder whose digest is in `path`, if anything is.

    One that was killed before its digest was written is looked at as far as that goes without.
    """
    try:
        if not path.exists():
            if not isinstance(json.loads((folder / _METRICS).read_text()), dict):
                return f"{_METRICS} is not as Orbax writes it"
            return None
        found, written = _digest(folder), json.loads(path.read_text())
        for file in found.keys() | written.keys():
            if found.get(file) != written.get(file):
                return f"{file} is not as it was written"
    except FileNotFoundError:  # saved without metrics
        return None
    except (OSError, ValueError, AttributeError) as error:
        return str(error)[:100]
    return None


def _digest(directory: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file under a folder."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): [path.stat().st_size, zlib.crc32(path.read_bytes())]
        for path in files
    }
