"""Arrays in a .npy or .npz file."""

import functools
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from aejax.data.cache import cache_directory
from aejax.data.features import Feature
from aejax.data.source import Rows, Source, readable, stamps
from aejax.errors import UsageError

_SPLIT = re.compile(r"(train|test|validation|valid|val|dev)")
_CURE = "save arrays of numbers with np.save or np.savez"


def open_numpy(name: str, path: Path) -> Source:
    """A .npy file is "x"; a .npz's arrays are named, and of splits if their names say so.

    x_train, y_train, x_test and y_test are "x" and "y" of two splits, so are train_images and
    test_images "images"; arrays whose names say nothing of splits are of "train". A .npz is not
    read whole: an array that is wanted is unpacked to a file without a name beside the cache.

    Raises:
        UsageError: if there is no such file, it is damaged, or its arrays differ in length.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {name!r}: check its path")
    arrays = _members(name, path) if path.suffix == ".npz" else {("train", "x"): None}
    with readable(name, _CURE):
        headers = {key: _header(path, member) for key, member in arrays.items()}
    lengths = _lengths(name, headers)
    features = _features(name, headers, lengths)

    @functools.cache
    def opened(split: str, feature: str) -> np.ndarray:
        return _mapped(name, path, arrays[split, feature])

    def read(split: str, rows: Rows, keys: Sequence[str]) -> dict[str, np.ndarray]:
        return {key: opened(split, key)[np.asarray(rows)] for key in keys}

    def place(split: str, row: int) -> str:
        return f"{name}, row {row}" + (f" of {split}" if len(lengths) > 1 else "")

    return Source(name, features, lengths, stamps(path.parent, [path]), read, place)


Headers = Mapping[tuple[str, str], tuple[tuple[int, ...], bool, np.dtype]]


def _members(name: str, path: Path) -> dict[tuple[str, str], str | None]:
    """(split, name without it) -> the file in the archive."""
    with readable(name, _CURE), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.namelist() if member.endswith(".npy")]
    parted: dict[tuple[str, str], str | None] = {}
    plain: dict[tuple[str, str], str | None] = {}
    for member in members:
        words = re.split(r"[_/. -]", member.removesuffix(".npy"))
        splits = [word for word in words if _SPLIT.fullmatch(word.lower())]
        rest = "_".join(word for word in words if word not in splits) or "x"
        if len(splits) == 1:
            parted[splits[0].lower(), rest] = member
        else:
            plain["train", rest] = member
    return parted or plain


def _lengths(name: str, headers: Headers) -> dict[str, int]:
    lengths: dict[str, dict[str, int]] = {}
    for (split, key), (shape, _, _) in headers.items():
        if shape:
            lengths.setdefault(split, {})[key] = shape[0]
    for split, of in lengths.items():
        if len(set(of.values())) > 1:
            raise UsageError(f"{name}: arrays of {split} differ in length ({of}): one row a record")
    if not lengths:
        raise UsageError(f"{name} holds no arrays [N, ...]: {_CURE}")
    return {split: next(iter(of.values())) for split, of in lengths.items()}


def _features(name: str, headers: Headers, lengths: Mapping[str, int]) -> dict[str, Feature]:
    features: dict[str, Feature] = {}
    for (_, key), (shape, _, dtype) in headers.items():
        missing = [split for split in lengths if (split, key) not in headers]
        if missing:
            raise UsageError(
                f"{name} has no {key} for {', '.join(missing)}: add it, or leave it out everywhere"
            )
        features[key] = Feature(dtype if dtype.kind in "uifb" and shape else None, shape[1:])
    return features


def _header(path: Path, member: str | None) -> tuple[tuple[int, ...], bool, np.dtype]:
    if member is None:
        with path.open("rb") as file:
            return _read_header(file)
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        return _read_header(file)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    old = version == (1, 0)
    reader = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    return reader(file)


def _mapped(name: str, path: Path, member: str | None) -> np.ndarray:
    if member is None:
        with readable(name, _CURE):
            return np.load(path, mmap_mode="r", allow_pickle=False)
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(path) as archive,
        archive.open(member) as packed,
        tempfile.TemporaryFile(dir=cache_directory()) as file,
    ):
        _unpack(name, packed, file)
        file.seek(0)
        shape, fortran, dtype = _read_header(file)
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _unpack(name: str, packed: IO[bytes], file: IO[bytes]) -> None:
    """Copies; what cannot be written is the cache's error, and not one of what is read."""
    block = b"first"
    while block:
        with readable(name, _CURE):
            block = packed.read(2**20)
        file.write(block)
