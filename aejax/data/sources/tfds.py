"""Any TFDS data set: find, prepare where that is possible, read."""

import contextlib
import difflib
import functools
import importlib.util
import io
import logging
import operator
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from aejax.data.features import Feature, Features
from aejax.data.lock import locked
from aejax.data.source import Rows, Source, first_line, stamps
from aejax.errors import UsageError
from aejax.quiet import quiet_absl


def open_tfds(name: str, data_dir: str | None, check: Callable[[Features], Any]) -> Source:
    """A TFDS data set, prepared if it is not and can be.

    Args:
        name: as TFDS has it.
        data_dir: where it is prepared.
        check: is called with the features before anything is prepared, which can take hours.

    Raises:
        UsageError: if it is unknown, or is not prepared and cannot be prepared here.
    """
    with _quiet():
        import tensorflow_datasets as tfds

        builder = _find_builder(name, data_dir)
        check(_features_of(builder))
        builder = _prepared(builder, name, data_dir)
        features = _features_of(builder)  # names of classes may come with the records
    folder = Path(builder.data_path).resolve()

    @functools.cache
    def opened(split: str) -> Any:
        try:
            return builder.as_data_source(split)
        except NotImplementedError as error:
            raise UsageError(
                f"data set {name!r} in {folder} is in a format without random access: prepare it "
                "with file_format='array_record' in another --data-dir"
            ) from error

    def read(split: str, rows: Rows, keys: Sequence[str]) -> dict[str, list[Any]]:
        with _quiet():
            records = _records(builder, opened(split), split, rows)
        return {
            key: [functools.reduce(operator.getitem, key.split("/"), r) for r in records]
            for key in keys
        }

    return Source(
        name,
        features,
        {split: info.num_examples for split, info in builder.info.splits.items()},
        [
            tfds.__version__,
            PIL.__version__,
            builder.info.full_name,
            stamps(folder, [file for file in folder.rglob("*") if file.is_file()]),
        ],
        read,
        lambda split, row: f"data set {name!r}, record {row} of {split}",
    )


def _records(builder: Any, source: Any, split: str, rows: Rows) -> list[Any]:
    try:
        return source.__getitems__([int(row) for row in rows])
    except Exception as error:  # array_record, protobuf and Pillow raise different ones
        damaged = next((row for row in rows if not _is_readable(source, row)), rows[0])
        info = builder.info.splits[split]
        shard = int(np.searchsorted(np.cumsum(info.shard_lengths), damaged, side="right"))
        raise UsageError(
            f"{info.filepaths[shard]} cannot be read at record {damaged} of {split} "
            f"({first_line(error)}): copy it again, or delete its folder to prepare it anew"
        ) from error


def _is_readable(source: Any, row: int) -> bool:
    try:
        source.__getitems__([row])
    except Exception:
        return False
    return True


def _features_of(builder: Any) -> dict[str, Feature]:
    """A data set's features; a builder of ours says which come along in `BESIDE`."""
    beside = getattr(builder, "BESIDE", ())
    found = _features(builder.info.features)
    return {key: feature._replace(beside=key in beside) for key, feature in found}


def _features(connectors: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Feature]]:
    """Features by name; those in a dictionary by "its name/their name"."""
    from tensorflow_datasets.core.features import FeaturesDict

    for key, connector in connectors.items():
        if isinstance(connector, FeaturesDict):
            yield from _features(connector, f"{within}{key}/")
        else:
            yield within + key, _feature(connector)


def _feature(connector: Any) -> Feature:
    if isinstance(connector.np_dtype, dict):  # a sequence of dictionaries
        return Feature(None)
    dtype = np.dtype(connector.np_dtype)
    if dtype.kind not in "uifb":
        return Feature(None)
    is_class = type(connector).__name__ == "ClassLabel" and connector.num_classes
    classes = tuple(connector.names) if is_class else None
    return Feature(dtype, tuple(connector.shape), classes)


def _find_builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    import aejax.data.builders  # noqa: F401  registers ours

    try:
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError:
        pass
    except (ValueError, AssertionError, AttributeError, RuntimeError) as error:
        raise UsageError(f"data set {name!r} cannot be opened: {first_line(error)}") from error
    if Path(name).is_dir():
        raise UsageError(f"there is no TFDS data set {name!r}: write ./{name} for the folder")
    near = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
    hint = f"did you mean {', '.join(near)}?" if near else "see tensorflow.org/datasets/catalog"
    raise UsageError(f"unknown data set {name!r}: {hint}")


def _prepared(builder: Any, name: str, data_dir: str | None) -> Any:
    """The builder of the prepared data set; says in one line why it can't be prepared."""
    if builder.is_prepared():
        return builder
    where = builder.data_path.parent.parent
    needs_tensorflow = any(
        type(feature).__name__ in ("Image", "Video", "LabeledImage")
        for feature in builder.info.features.values()
    )
    if needs_tensorflow and importlib.util.find_spec("tensorflow") is None:
        raise UsageError(
            f"data set {name!r} is not prepared in {where}, and preparing it needs TensorFlow: "
            "pip install 'aejax[prepare]', or point --data-dir or TFDS_DATA_DIR at a directory "
            "that has it"
        )
    embedded = type(builder).__module__.startswith("aejax.")
    if not embedded and not _has_network():
        raise UsageError(
            f"data set {name!r} is not prepared in {where}, and there is no network to download "
            "it: point --data-dir or TFDS_DATA_DIR at a directory that has it"
        )
    print(f"preparing {name} in {where}, once ...", file=sys.stderr)
    try:
        where.mkdir(parents=True, exist_ok=True)
        with locked(where / f".{builder.name}.lock"):
            builder = _find_builder(name, data_dir)  # which looks at what another has prepared
            if not builder.is_prepared():
                builder.download_and_prepare()
            return builder
    except ModuleNotFoundError as error:
        raise UsageError(
            f"preparing {name!r} needs {error.name}: pip install 'aejax[examples]'"
        ) from error
    except OSError as error:  # a requests.ConnectionError is one
        raise UsageError(
            f"data set {name!r} could not be prepared in {where}: {first_line(error)}; check "
            "the network and the disk, or point --data-dir at a directory that has it"
        ) from error


def _has_network() -> bool:
    """Whether TFDS's own host has an address; its downloads retry for minutes when it has none."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    try:
        socket.getaddrinfo("storage.googleapis.com", 443)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's own bars and prints, and absl's advice, off the terminal."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    with quiet_absl(logging.ERROR), contextlib.redirect_stdout(io.StringIO()):
        yield
