"""Opens any data set as named arrays, decoded once."""

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data.cache import Content, build_cache, cache_directory, open_cached
from aejax.data.dataset import Dataset, at_rest
from aejax.data.features import Features, choose_arrays
from aejax.data.images import fitted
from aejax.data.source import Source
from aejax.data.splits import Parts, split_parts, with_test
from aejax.errors import UsageError

_DECODER = 1  # raise it when the same source is decoded to other arrays
_CHUNK_BYTES = 16 * 2**20
_CHUNK = 1024


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
              embedded one: "mnist5k", "photos", "fiddle_tunes";
            - a folder of images, "./pictures": a folder a class in it, or in its train/ and test/;
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
        "label" `[N]` int32, where there are classes; and the conditions.

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
    made_of = [_DECODER, source.identity, arrays, split, crop, size]
    directory = cache_directory() / f"{_slug(name, split)}-{_digest(made_of)}"
    data = open_cached(directory)
    if data is None:
        decoding = _Decoding(source, arrays, parts, crop, size)
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
    if name.startswith(("/", ".", "~")):
        raise UsageError(f"there is no folder {name!r}: check its path")
    from aejax.data.sources.tfds import open_tfds

    return open_tfds(name, data_dir, check)


def _open_folder(name: str, path: Path) -> Source:
    if any((path / file).exists() for file in ("dataset_dict.json", "state.json")):
        from aejax.data.sources.huggingface import open_saved

        return open_saved(name, path)
    from aejax.data.sources.folder import open_folder

    return open_folder(name, path)


def _check_fit(source: Source, x: str, size: int | None) -> None:
    feature = source.features[x]
    if feature.dtype != np.uint8 or len(feature.shape) not in (2, 3):
        raise UsageError(
            f"--crop and --size are for uint8 images, and {x} of {source.name!r} is {feature}"
        )
    if size is not None and size < 1:
        raise UsageError(f"--size {size} is not positive")


@dataclasses.dataclass(frozen=True)
class _Decoding:
    """How the records of a source become arrays at rest."""

    source: Source
    arrays: Mapping[str, str]
    parts: Parts
    crop: bool
    size: int | None

    def content(self) -> Content:
        names = {key: self.source.features[f].classes for key, f in self.arrays.items()}
        return Content(
            sum(len(rows) for _, rows in self.parts),
            self.chunks(),
            {key: classes for key, classes in names.items() if classes is not None},
        )

    def chunks(self) -> Iterator[dict[str, np.ndarray]]:
        """The arrays, chunk after chunk; labels that are missing in part are refused at the end."""
        shapes: dict[str, tuple[int, ...]] = {}
        labelled: set[bool] = set()
        split, rows = next(part for part in self.parts if len(part[1]))
        first = self.decode(split, rows[:1], shapes)
        per_chunk = max(1, min(_CHUNK, _CHUNK_BYTES // sum(v.nbytes for v in first.values())))
        for split, rows in self.parts:
            for start in range(0, len(rows), per_chunk):
                some = rows[start : start + per_chunk]
                chunk = self.decode(split, some, shapes)
                if "label" in chunk:
                    labelled.update((chunk["label"] >= 0).tolist())
                    if len(labelled) > 1:
                        raise UsageError(
                            f"{self.source.place(split, some[0])} and the {len(some) - 1} that "
                            "follow: some examples have a class and others a negative label: take "
                            "one or the other kind out"
                        )
                yield chunk

    def decode(
        self, split: str, rows: Sequence[int], shapes: dict[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        records = self.source.read(split, rows, list(self.arrays.values()))
        chunk = {}
        for key, feature in self.arrays.items():
            values = self.stacked(key, records[feature], split, rows, shapes)
            chunk[key] = self.at_rest(key, values, split, rows)
        return chunk

    def stacked(
        self,
        key: str,
        records: Any,
        split: str,
        rows: Sequence[int],
        shapes: dict[str, tuple[int, ...]],
    ) -> np.ndarray:
        """The records of a feature as one array; those of another shape are named."""
        fits = key == "x" and (self.crop or self.size is not None)
        if fits or not isinstance(records, np.ndarray):
            places = zip(rows, records, strict=True)
            records = [self.one(record, split, row) if fits else record for row, record in places]
        shape = shapes.setdefault(key, np.shape(records[0]))
        for row, record in zip(rows, records, strict=True):
            if np.shape(record) != shape:
                raise UsageError(
                    f"{self.source.place(split, row)}: {self.arrays[key]} is "
                    f"{list(np.shape(record))} where others are {list(shape)}: give all one shape, "
                    "images by --crop and --size"
                )
        return np.stack(records) if np.asarray(records[:1]).dtype == object else np.asarray(records)

    def one(self, record: Any, split: str, row: int) -> np.ndarray:
        try:
            return fitted(np.asarray(record), self.crop, self.size)
        except ValueError as error:
            raise UsageError(f"{self.source.place(split, row)}, {error}") from error

    def at_rest(self, key: str, values: np.ndarray, split: str, rows: Sequence[int]) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):
                kept = at_rest(self.arrays[key], values)
        except ValueError as error:
            raise UsageError(f"{self.source.place(split, rows[0])} ff.: {error}") from error
        if key == "label":
            return kept.reshape(len(kept)).astype(np.int32)
        if kept.dtype == np.float32:
            finite = np.isfinite(kept).reshape(len(kept), -1).all(1)
            if not finite.all():
                raise UsageError(
                    f"{self.source.place(split, rows[int(np.argmin(finite))])}: "
                    f"{self.arrays[key]} holds what is not finite as float32: mend or remove it"
                )
        # A grey image is an image of one channel.
        is_plane = key == "x" and kept.dtype == np.uint8 and kept.ndim == 3
        return kept[..., None] if is_plane else kept


def _announcement(decoding: _Decoding, split: str) -> str:
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
