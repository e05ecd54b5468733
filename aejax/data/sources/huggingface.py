"""What Hugging Face's `datasets` opens: a folder that it saved, or a name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data.features import Feature
from aejax.data.source import Rows, Source, readable, stamps
from aejax.errors import UsageError


def open_saved(name: str, path: Path) -> Source:
    """A `Dataset` or `DatasetDict` in the folder where its `save_to_disk` put it."""
    datasets = _datasets()
    with readable(name, "save it again with save_to_disk"):
        loaded = datasets.load_from_disk(str(path))
    files = [file for file in path.rglob("*") if file.is_file()]
    return _source(name, loaded, stamps(path, files))


def open_hub(name: str) -> Source:
    """The name after "hf:", or NAME:CONFIG, as `datasets.load_dataset` finds it."""
    datasets = _datasets()
    with readable(name, "check the name, its configuration (hf:NAME:CONFIG) and the network"):
        loaded = datasets.load_dataset(*name.removeprefix("hf:").split(":"))
    return _source(name, loaded, None)


def _datasets() -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise UsageError(
            f"data sets of Hugging Face need {error.name}: pip install 'aejax[hf]'"
        ) from error
    return datasets


def _source(name: str, loaded: Any, files: Any) -> Source:
    datasets = _datasets()
    splits = {"train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
    arrays = {split: data.with_format("numpy") for split, data in splits.items()}
    prints = {split: data._fingerprint for split, data in splits.items()}

    def read(split: str, rows: Rows, keys: Sequence[str]) -> Any:
        with readable(f"{name} {split}", "check its files"):
            return arrays[split].select_columns(list(keys))[[int(row) for row in rows]]

    features = next(iter(splits.values())).features
    return Source(
        name,
        {key: _feature(feature) for key, feature in features.items()},
        {split: len(data) for split, data in splits.items()},
        [datasets.__version__, files or prints],
        read,
        lambda split, row: f"{name}, record {row} of {split}",
    )


def _feature(feature: Any) -> Feature:
    kind = type(feature).__name__
    if kind == "Image":
        return Feature(np.dtype(np.uint8), (None, None, None))
    if kind == "ClassLabel":
        return Feature(np.dtype(np.int64), (), tuple(feature.names))
    if kind in ("Array2D", "Array3D", "Array4D", "Array5D"):
        return Feature(_dtype(feature.dtype), tuple(feature.shape))
    if kind in ("List", "LargeList", "Sequence"):
        inner, length = _feature(feature.feature), getattr(feature, "length", -1)
        return Feature(inner.dtype, (None if length == -1 else length, *inner.shape))
    return Feature(_dtype(feature.dtype) if kind == "Value" else None)


def _dtype(name: str) -> np.dtype | None:
    """NumPy's type of that name, if it is one of numbers."""
    try:
        dtype = np.dtype(name)
    except TypeError:
        return None
    return dtype if dtype.kind in "uifb" else None
