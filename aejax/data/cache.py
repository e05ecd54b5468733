"""A decoded split on disk: a `.npy` file an array, memory-mapped, and a manifest.

A cache is built under a name of its own and renamed when it is whole, so a killed build leaves
nothing that could be taken for one. Whoever builds holds a lock, and others wait for the result.
"""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import sys
import urllib.parse
import uuid
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data.dataset import Dataset
from aejax.data.lock import locked
from aejax.errors import UsageError

_MANIFEST = "manifest.json"
_whole: set[tuple[str, int, int]] = set()  # caches whose content this process has checked

_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclasses.dataclass(frozen=True)
class Content:
    """What is to be kept: `count` rows of named arrays, in chunks at rest."""

    count: int
    chunks: Iterable[Mapping[str, np.ndarray]]
    names: Mapping[str, tuple[str, ...]]


def cache_directory() -> Path:
    """Where decoded data is kept: `$AEJAX_CACHE_DIR`, or `aejax` in the user's cache folder."""
    if directory := os.environ.get("AEJAX_CACHE_DIR"):
        return Path(directory)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aejax"


def open_cached(directory: Path) -> Dataset | None:
    """The data set in `directory`, memory-mapped; None if there is none or it is damaged.

    The first time that a process opens it, the CRC-32 of all its content is compared with the
    manifest's: some 20 ms for the 47 MB of Fashion-MNIST, once they are in memory.
    """
    try:
        return _open(directory)
    except _DAMAGE:
        return None


def build_cache(directory: Path, content: Content) -> Dataset:
    """Writes a data set as the cache in `directory`, unless another process does; opens it.

    Raises:
        UsageError: if it cannot be written; nothing of it is left then.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with locked(directory.with_name(f"{directory.name}.lock")):
            try:
                return _open(directory)
            except _DAMAGE as error:
                if directory.exists():
                    print(f"building the damaged cache {directory} anew ({error})", file=sys.stderr)
            _remove_abandoned(directory)
            _build(directory, content)
            return _open(directory)
    except OSError as error:
        raise UsageError(
            f"the cache in {directory.parent} cannot be written ({error.strerror or error}): make "
            "room there, or let AEJAX_CACHE_DIR name another folder"
        ) from error


def _open(directory: Path) -> Dataset:
    manifest = _manifest(directory)
    _check_files(directory, manifest["files"])
    arrays = {
        key: np.load(directory / _file(key), mmap_mode="r", allow_pickle=False)
        for key in manifest["files"]
    }
    names = {key: tuple(values) for key, values in manifest["names"].items()}
    return Dataset(arrays, names)


def _build(directory: Path, content: Content) -> None:
    partial = _partial(directory)
    partial.mkdir()
    try:
        files = _write_arrays(partial, content)
        manifest: dict[str, Any] = {"files": files, "names": dict(content.names)}
        text = json.dumps(manifest)
        _write_whole(partial / _MANIFEST, f"{zlib.crc32(text.encode())} {text}".encode())
        if directory.exists():  # damaged: a process that has opened it keeps what it has
            directory.rename(_partial(directory))
        partial.rename(directory)
    finally:
        _remove_abandoned(directory)


def _write_arrays(directory: Path, content: Content) -> dict[str, list[int]]:
    """Writes each array; gives its file's size and CRC-32."""
    writers: dict[str, _Writer] = {}
    with contextlib.ExitStack() as stack:
        for chunk in content.chunks:
            for key, values in chunk.items():
                if key not in writers:
                    writers[key] = _Writer(directory / _file(key), content.count, values)
                    stack.callback(writers[key].file.close)
                writers[key].write(values)
        return {key: writer.finish() for key, writer in writers.items()}


class _Writer:
    """A `.npy` file that is written chunk by chunk.

    Through write(), so that a full disk is an error here, and not a bus error as with a
    memory-mapped file.
    """

    def __init__(self, path: Path, count: int, like: np.ndarray):
        self.file = path.open("wb")
        self.row, self.dtype = like.shape[1:], like.dtype
        self.missing = count
        self.size = self.crc = 0
        header = io.BytesIO()
        described = {
            "descr": np.lib.format.dtype_to_descr(like.dtype),
            "fortran_order": False,
            "shape": (count, *self.row),
        }
        np.lib.format.write_array_header_1_0(header, described)
        self._append(header.getbuffer())

    def write(self, values: np.ndarray) -> None:
        if values.shape[1:] != self.row or values.dtype != self.dtype:
            raise ValueError(f"{values.dtype} {values.shape[1:]} after {self.dtype} {self.row}")
        self.missing -= len(values)
        self._append(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def finish(self) -> list[int]:
        if self.missing:
            raise ValueError(f"{self.missing} rows fewer than were announced")
        self.file.flush()
        os.fsync(self.file.fileno())
        return [self.size, self.crc]

    def _append(self, data: memoryview) -> None:
        self.file.write(data)
        self.size += data.nbytes
        self.crc = zlib.crc32(data, self.crc)


def _write_whole(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _manifest(directory: Path) -> Any:
    crc, _, text = (directory / _MANIFEST).read_text().partition(" ")
    if crc != str(zlib.crc32(text.encode())):
        raise ValueError("its manifest is not as it was written")
    return json.loads(text)


def _check_files(directory: Path, files: Mapping[str, list[int]]) -> None:
    stat = (directory / _MANIFEST).stat()
    seen = (str(directory), stat.st_ino, stat.st_mtime_ns)
    for key, (size, crc) in files.items():
        path = directory / _file(key)
        if path.stat().st_size != size:
            raise ValueError(f"{path.name} is not as long as it was")
        if seen not in _whole and zlib.crc32(np.memmap(path, np.uint8, "r").data) != crc:
            raise ValueError(f"{path.name} is not as it was written")
    _whole.add(seen)


def _file(key: str) -> str:
    return f"{urllib.parse.quote(key, safe='')}.npy"


def _partial(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.partial-{uuid.uuid4().hex}")


def _remove_abandoned(directory: Path) -> None:
    """Deletes what builds of this cache have left; for the holder of its lock."""
    for partial in directory.parent.glob(f"{directory.name}.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
