"""From the records of a source to arrays at rest, chunk by chunk."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aejax.data.cache import Content
from aejax.data.dataset import at_rest
from aejax.data.images import fitted
from aejax.data.source import Source
from aejax.data.splits import Parts
from aejax.errors import UsageError

_CHUNK_BYTES = 16 * 2**20
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Decoding:
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
        per_chunk = max(1, min(_CHUNK, _CHUNK_BYTES // self.record_bytes()))
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

    def record_bytes(self) -> int:
        """The size of the first record as it is read."""
        split, rows = next(part for part in self.parts if len(part[1]))
        first = self.source.read(split, rows[:1], list(self.arrays.values()))
        return max(1, sum(np.asarray(next(iter(values))).nbytes for values in first.values()))

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
