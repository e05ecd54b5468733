"""From the records of a source to arrays at rest, chunk by chunk."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aejax.data.cache import Content
from aejax.data.dataset import at_rest
from aejax.data.images import fitted
from aejax.data.source import Rows, Source
from aejax.data.splits import Parts
from aejax.errors import UsageError

_CHUNK_BYTES = 16 * 2**20
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How the records of a source become arrays at rest.

    Attributes:
        source: whose records they are.
        arrays: the feature of each array.
        parts: which rows of which splits.
        crop: whether images are cut to the square at their centre.
        size: the side that images are resized to, if they are.
        shapes: of a record of each array, as the first has it.
    """

    source: Source
    arrays: Mapping[str, str]
    parts: Parts
    crop: bool
    size: int | None
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def content(self) -> Content:
        """What the cache is to keep.

        Raises:
            UsageError: as its chunks are made, for the first record that cannot be taken.
        """
        names = {key: self.source.features[f].classes for key, f in self.arrays.items()}
        return Content(
            sum(len(rows) for _, rows in self.parts),
            self.chunks(),
            {key: classes for key, classes in names.items() if classes is not None},
        )

    def chunks(self) -> Iterator[dict[str, np.ndarray]]:
        """The arrays, so many records at a time as fit in `_CHUNK_BYTES`."""
        per_chunk = max(1, min(_CHUNK, _CHUNK_BYTES // self.record_bytes()))
        labelled: set[bool] = set()
        for split, rows in self.parts:
            for start in range(0, len(rows), per_chunk):
                some = rows[start : start + per_chunk]
                chunk = self.decode(split, some)
                labelled.update((chunk["label"] >= 0).tolist() if "label" in chunk else [])
                if len(labelled) > 1:
                    raise UsageError(
                        f"{self.source.place(split, some[0])} ff.: some records have a class and "
                        "others a negative label: take the one or the other out"
                    )
                yield chunk

    def record_bytes(self) -> int:
        """The size of the first record as it is read."""
        split, rows = next(part for part in self.parts if len(part[1]))
        first = self.source.read(split, rows[:1], list(self.arrays.values()))
        return max(1, sum(np.asarray(next(iter(values))).nbytes for values in first.values()))

    def decode(self, split: str, rows: Rows) -> dict[str, np.ndarray]:
        """The arrays of some records."""
        records = self.source.read(split, rows, list(self.arrays.values()))
        stacked = {k: self.stack(k, records[f], split, rows) for k, f in self.arrays.items()}
        return {key: self.keep(key, values, split, rows) for key, values in stacked.items()}

    def stack(self, key: str, records: Any, split: str, rows: Rows) -> np.ndarray:
        """The records of one feature as one array; one of another shape is named."""
        fits = key == "x" and (self.crop or self.size is not None)
        if fits or not isinstance(records, np.ndarray):
            places = zip(rows, records, strict=True)
            records = [self.fit(record, split, row) if fits else record for row, record in places]
        shape = self.shapes.setdefault(key, np.shape(records[0]))
        for row, record in zip(rows, records, strict=True):
            if np.shape(record) != shape:
                raise UsageError(
                    f"{self.source.place(split, row)}: {self.arrays[key]} is "
                    f"{list(np.shape(record))} where others are {list(shape)}: give all one shape, "
                    "images by --crop and --size"
                )
        return np.stack(records) if np.asarray(records[:1]).dtype == object else np.asarray(records)

    def fit(self, record: Any, split: str, row: int) -> np.ndarray:
        """An image cut and resized."""
        try:
            return fitted(np.asarray(record), self.crop, self.size)
        except ValueError as error:
            raise UsageError(f"{self.source.place(split, row)}, {error}") from error

    def keep(self, key: str, values: np.ndarray, split: str, rows: Rows) -> np.ndarray:
        """Values of a type that is kept; one that is not finite, or beyond it, is named."""
        try:
            with np.errstate(over="ignore"):
                kept = at_rest(self.arrays[key], values)
        except ValueError as error:
            raise UsageError(f"{self.source.place(split, rows[0])} ff.: {error}") from error
        finite = np.isfinite(kept).reshape(len(kept), -1).all(1)
        if not finite.all():
            raise UsageError(
                f"{self.source.place(split, rows[int(np.argmin(finite))])}: "
                f"{self.arrays[key]} holds what is not finite as float32: mend or remove it"
            )
        if key == "label":
            return kept.reshape(len(kept)).astype(np.int32)
        # A grey image is an image of one channel.
        is_plane = key == "x" and kept.dtype == np.uint8 and kept.ndim == 3
        return kept[..., None] if is_plane else kept
