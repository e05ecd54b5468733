"""The decoded form of a split on disk: `.npy` files that are memory-mapped, and a manifest.

A cache is built in a folder of its own and renamed when it is whole, so a killed build leaves
nothing that could be taken for one; sizes and a fingerprint are checked at every opening, so a
truncated or overwritten file is noticed and the cache rebuilt.
"""

import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data.dataset import Dataset

_IMAGES, _LABELS, _MANIFEST = "images.npy", "labels.npy", "manifest.json"
_BLOCK = 4096
_BLOCKS = 1024


def cache_directory() -> Path:
    """Where decoded data is kept: `$AEJAX_CACHE_DIR`, or `aejax` in the user's cache folder."""
    if directory := os.environ.get("AEJAX_CACHE_DIR"):
        return Path(directory)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aejax"


def open_cached(directory: Path, name: str) -> Dataset | None:
    """The data set in `directory`, memory-mapped; None if there is none or it is damaged."""
    if not directory.exists():
        return None
    try:
        manifest = json.loads((directory / _MANIFEST).read_text())
        for file, expected in manifest["files"].items():
            if _fingerprint(directory / file) != expected:
                raise ValueError(f"{file} is not as it was written")
        arrays = {"x": np.load(directory / _IMAGES, mmap_mode="r", allow_pickle=False)}
        names = {}
        if manifest["label_names"]:
            arrays["label"] = np.load(directory / _LABELS, allow_pickle=False)
            names["label"] = tuple(manifest["label_names"])
        return Dataset(arrays, names, name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"rebuilding the damaged cache {directory} ({error})", file=sys.stderr)
        return None


def build_cache(
    directory: Path,
    count: int,
    image_shape: tuple[int, int, int],
    label_names: tuple[str, ...],
    chunks: Iterator[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Writes `chunks` of (images, labels), `count` in all, as the cache in `directory`."""
    partial = directory.with_name(f"{directory.name}.partial-{os.getpid()}")
    _remove_abandoned(directory)
    partial.mkdir(parents=True)
    try:
        images = np.lib.format.open_memmap(
            partial / _IMAGES, mode="w+", dtype=np.uint8, shape=(count, *image_shape)
        )
        labels = np.empty(count, np.int32)
        start = 0
        for chunk_images, chunk_labels in chunks:
            stop = start + len(chunk_images)
            images[start:stop], labels[start:stop] = chunk_images, chunk_labels
            start = stop
        if start != count:
            raise ValueError(f"{start} images where {count} were announced")
        images.flush()
        np.save(partial / _LABELS, labels)
        _write_manifest(partial, label_names)
        shutil.rmtree(directory, ignore_errors=True)
        try:
            partial.rename(directory)
        except OSError:  # another process has built it meanwhile
            if not directory.exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_manifest(directory: Path, label_names: tuple[str, ...]) -> None:
    files = {file: _fingerprint(directory / file) for file in (_IMAGES, _LABELS)}
    manifest: dict[str, Any] = {"files": files, "label_names": list(label_names)}
    with (directory / _MANIFEST).open("w") as file:
        json.dump(manifest, file)
        file.flush()
        os.fsync(file.fileno())


def _fingerprint(path: Path) -> list[int]:
    """The size and the CRC-32 of blocks spread over the file: quick however large it is."""
    size = path.stat().st_size
    crc = 0
    with path.open("rb") as file:
        for offset in np.linspace(0, max(0, size - _BLOCK), _BLOCKS).astype(int).tolist():
            file.seek(offset)
            crc = zlib.crc32(file.read(_BLOCK), crc)
    return [size, crc]


def _remove_abandoned(directory: Path) -> None:
    """Deletes what builds of this cache left whose process is gone."""
    for partial in directory.parent.glob(f"{directory.name}.partial-*"):
        pid = partial.name.rpartition("-")[2]
        if not Path(f"/proc/{pid}").exists():
            shutil.rmtree(partial, ignore_errors=True)
