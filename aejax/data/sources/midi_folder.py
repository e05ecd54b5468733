"""A folder of MIDI files."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aejax.data.cache import Content, build_cache, cache_directory, open_cached
from aejax.data.dataset import Dataset
from aejax.data.features import Feature
from aejax.data.source import Rows, Source, stamps
from aejax.errors import UsageError
from aejax.music.melodies import parted
from aejax.music.midi_files import midi_files, read_midi_files

_VERSION = 1  # raise it when the same files are read to other windows


def open_midi_folder(name: str, path: Path, bars: int) -> Source:
    """Windows of the melodies of the MIDI files in `path`, read once and kept in the cache.

    A melody is that of the first track with notes, at the nearest sixteenths. "tune" is the file,
    "bar" the window's first. A tenth of the files is "test", and none of them has a variant in
    "train".

    Args:
        name: as a person names it.
        path: the folder.
        bars: of a window.

    Raises:
        UsageError: if there are no MIDI files, or none gives a window.
    """
    files = midi_files(path)
    if not files:
        raise UsageError(f"folder {str(path)!r} holds no MIDI files: give some of mid, midi")
    if bars < 1:
        raise UsageError(f"{name!r} asks for windows of {bars} bars: give 1 or more")
    identity = [_VERSION, bars, stamps(path, files)]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    directory = cache_directory() / f"midi-{digest}"
    data = open_cached(directory)
    if data is None:
        data = build_cache(directory, _content(path, files, bars))
    rows = {"train": np.flatnonzero(~data["test"]), "test": np.flatnonzero(data["test"])}
    rows = {split: some for split, some in rows.items() if len(some)}

    def read(split: str, some: Rows, keys: Sequence[str]) -> dict[str, np.ndarray]:
        return {key: data[key][rows[split][np.asarray(some)]] for key in keys}

    def place(split: str, row: int) -> str:
        return str(path / data.names["tune"][data["tune"][rows[split][row]]])

    lengths = {split: len(some) for split, some in rows.items()}
    return Source(name, _features(data), lengths, identity, read, place)


def _content(path: Path, files: list[Path], bars: int) -> Content:
    splits = parted(read_midi_files(path, files, bars))
    names = sorted(melody.name for melodies in splits for melody in melodies)
    numbers = {melody: number for number, melody in enumerate(names)}
    rows = [
        (window.tokens, numbers[melody.name], window.bar, is_test)
        for is_test, melodies in enumerate(splits)
        for melody in melodies
        for window in melody.windows.found
    ]
    x, tune, bar, test = (np.array(column) for column in zip(*rows, strict=True))
    integers = {"x": x, "tune": tune, "bar": bar}
    arrays = {key: values.astype(np.int32) for key, values in integers.items()}
    return Content(len(x), [arrays | {"test": test.astype(bool)}], {"tune": tuple(names)})


def _features(data: Dataset) -> dict[str, Feature]:
    whole = np.dtype(np.int32)
    return {
        "x": Feature(whole, data["x"].shape[1:]),
        "tune": Feature(whole, (), data.names["tune"], beside=True),
        "bar": Feature(whole, (), beside=True),
    }
