"""Opens any data set as named arrays, decoded once."""

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data.cache import build_cache, cache_directory, open_cached
from aejax.data.dataset import Dataset
from aejax.data.decode import Decoding
from aejax.data.features import Features, choose_arrays
from aejax.data.source import Source
from aejax.data.splits import split_parts, with_test
from aejax.errors import UsageError

_VERSION = 1  # raise it when the same source is decoded to other arrays


def load_dataset(
    name: str,
    split: str,
    data_dir: str | None = None,
    *,
    x: str | None = None,
    conditions: Sequence[str] = (),
    crop: bool = False,
    size: int | None = None,
) -> Dataset:
    """Opens a split of a data set, decoded to the cache the first time.

    Args:
        name: one of
            - a TFDS data set whose features have fixed shapes, such as "fashion_mnist", or an
              embedded one: "mnist5k", "photos", "fiddle_tunes", "chorales", "melodies",
              "melodies16"; with Essen's songs, for non-commercial use, "melodies_all" and
              "melodies16_all";
            - a folder of images, "./pictures": a folder a class in it, or in its train/ and test/;
            - a folder of MIDI files, "./tunes": windows of 2 bars, "./tunes:16" of 16;
            - a file of NumPy's, "digits.npz" with x_train, y_train, x_test, y_test or x, y, or
              "vectors.npy";
            - what Hugging Face's `datasets` has saved in a folder, or "hf:NAME", "hf:NAME:CONFIG".
        split: "train", "test" or any TFDS split expression ("train[:1000]", "train+test"). Data
            without a test split has one all the same: see `split_parts`.
        data_dir: the TFDS data directory; by default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
        x: the feature that is modelled. Default: "x" or "image", else the only one with a shape
            that is no label.
        conditions: further features that come along, by their own names.
        crop: whether images are cut to the square at their centre.
        size: the side in pixels that square images are resized to.

    Returns:
        "x" `[N, ...]`: uint8 images `[N, H, W, C]`, or int32, float32 or bool of any shape;
        "label" `[N]` int32, where there are classes; the conditions; of melodies "tune" and "bar".

    Raises:
        UsageError: if the data set, split or feature is unknown, cannot be read or prepared, holds
            what is not finite or not of one shape, or cannot be kept; nothing is cached then.
    """
    choose = functools.partial(choose_arrays, name, x=x, conditions=conditions)
    source = open_source(name, data_dir, choose)
    arrays = choose(source.features)
    if crop or size is not None:
        _check_fit(source, arrays["x"], size)
    parts = split_parts(name, source.lengths, split)
    made_of = [_VERSION, source.identity, arrays, split, crop, size]
    directory = cache_directory() / f"{_slug(name, split)}-{_digest(made_of)}"
    data = open_cached(directory)
    if data is None:
        decoding = Decoding(source, arrays, parts, crop, size)
        print(_announcement(decoding, split), file=sys.stderr)
        data = build_cache(directory, decoding.content())
    return _without_missing_labels(dataclasses.replace(data, name=name), split)


def open_source(name: str, data_dir: str | None, check: Callable[[Features], Any]) -> Source:
    """What a name stands for; each kind is imported only where it is used.

    `check` is called with the features before anything is prepared for the first time.
    """
    path = Path(name).expanduser()
    if name.startswith("hf:"):
        from aejax.data.sources.huggingface import open_hub

        return open_hub(name)
    if path.suffix in (".npy", ".npz"):
        from aejax.data.sources.numpy_file import open_numpy

        return open_numpy(name, path)
    if "/" in name and path.is_dir():
        return _open_folder(name, path)
    folder, _, bars = name.rpartition(":")
    if bars.isdecimal() and "/" in folder and Path(folder).expanduser().is_dir():
        return _open_midi(name, Path(folder).expanduser(), int(bars))
    if name.startswith(("/", ".", "~")):
        raise UsageError(f"there is no folder {name!r}: check its path")
    from aejax.data.sources.tfds import open_tfds

    return open_tfds(name, data_dir, check)


def _open_folder(name: str, path: Path) -> Source:
    if any((path / file).exists() for file in ("dataset_dict.json", "state.json")):
        from aejax.data.sources.huggingface import open_saved

        return open_saved(name, path)
    if any(file.suffix.lower() in (".mid", ".midi") for file in path.rglob("*")):
        return _open_midi(name, path, 2)
    from aejax.data.sources.folder import open_folder

    return open_folder(name, path)


def _open_midi(name: str, path: Path, bars: int) -> Source:
    from aejax.data.sources.midi_folder import open_midi_folder

    return open_midi_folder(name, path, bars)


def _check_fit(source: Source, x: str, size: int | None) -> None:
    feature = source.features[x]
    if feature.dtype != np.uint8 or len(feature.shape) not in (2, 3):
        raise UsageError(
            f"--crop and --size are for uint8 images, and {x} of {source.name!r} is {feature}"
        )
    if size is not None and size < 1:
        raise UsageError(f"--size {size} is not positive")


def _announcement(decoding: Decoding, split: str) -> str:
    source, arrays = decoding.source, decoding.arrays
    count = sum(len(rows) for _, rows in decoding.parts)
    made = [f"{key} is {feature} ({source.features[feature]})" for key, feature in arrays.items()]
    left = sorted(source.features.keys() - set(arrays.values()))
    text = f"decoding {source.name} {split}: {count:,} examples, once: {', '.join(made)}"
    if "test" not in source.lengths and "test" in (splits := with_test(source.lengths)):
        kind = "all" if splits["test"][0] != "train" else "a tenth, drawn at random,"
        text += f"; test is {kind} of its {splits['test'][0]} split"
    return text + (f"; left out: {', '.join(left)}" if left else "")


def _without_missing_labels(data: Dataset, split: str) -> Dataset:
    if "label" not in data or int(data["label"][0]) >= 0:
        return data
    print(f"{data.name} {split}: all labels are negative, so it has none", file=sys.stderr)
    arrays = {key: values for key, values in data.items() if key != "label"}
    names = {key: values for key, values in data.names.items() if key != "label"}
    return Dataset(arrays, names, data.name)


def _slug(name: str, split: str) -> str:
    """The file's or data set's name and the split, for people who look into the folder."""
    kept = f"{Path(name).name[:40]}-{split[:20]}"
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in kept)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
