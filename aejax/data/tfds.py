"""Images of any TFDS data set: find, prepare where that is possible, decode once, open."""

import contextlib
import difflib
import importlib.util
import io
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data.cache import build_cache, cache_directory, open_cached
from aejax.data.dataset import Dataset
from aejax.errors import UsageError
from aejax.quiet import quiet_absl

_CHUNK = 1024


def load_dataset(name: str, split: str, data_dir: str | None = None) -> Dataset:
    """Opens a split of a TFDS data set as uint8 images, decoded to the cache the first time.

    Args:
        name: any TFDS data set with one image feature, such as "fashion_mnist", or an
            embedded one: "mnist5k", "photos", "fiddle_tunes".
        split: "train", "test" or any TFDS split expression ("train[:1000]").
        data_dir: the TFDS data directory; by default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.

    Returns:
        An `Dataset` with images `[N, H, W, C]`.

    Raises:
        UsageError: if the data set or split is unknown, is not prepared and cannot be prepared
            here, or its images differ in size.
    """
    with _quiet():
        return _load(name, split, data_dir)


def _load(name: str, split: str, data_dir: str | None) -> Dataset:
    builder = _find_builder(name, data_dir)
    image_key, label_key = _feature_keys(builder.info.features, name)
    _prepare(builder, name)
    _check_split(builder, name, split)
    source = f"{Path(builder.data_path).resolve()}-{split}"
    folder = "".join(c if c.isalnum() or c in "-_." else "_" for c in source.strip("/"))
    directory = cache_directory() / name.replace("/", "_") / folder
    cached = open_cached(directory, name)
    if cached is None:
        _decode(builder, name, split, image_key, label_key, directory)
        cached = open_cached(directory, name)
        if cached is None:
            raise OSError(f"the cache {directory} could not be read back")
    return cached


def _find_builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    import aejax.data.builders  # noqa: F401  registers ours

    try:
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError:
        pass
    except (ValueError, AssertionError, AttributeError, RuntimeError) as error:
        raise UsageError(f"data set {name!r} cannot be opened: {_first_line(error)}") from error
    near = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
    hint = f"did you mean {', '.join(near)}?" if near else "see tensorflow.org/datasets/catalog"
    raise UsageError(f"unknown data set {name!r}: {hint}")


def _prepare(builder: Any, name: str) -> None:
    """Prepares the data set where it is not; says in one line why it can't."""
    if builder.is_prepared():
        return
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
        builder.download_and_prepare()
    except ModuleNotFoundError as error:
        raise UsageError(
            f"preparing {name!r} needs {error.name}: pip install 'aejax[examples]'"
        ) from error
    except OSError as error:  # a requests.ConnectionError is one
        raise UsageError(
            f"data set {name!r} could not be prepared in {where}: {_first_line(error)}; check "
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


def _check_split(builder: Any, name: str, split: str) -> None:
    known = list(builder.info.splits)
    if split.partition("[")[0] not in known:
        raise UsageError(f"data set {name!r} has no split {split!r}: it has {', '.join(known)}")


def _feature_keys(features: Any, name: str) -> tuple[str, str | None]:
    """The names of the image feature and, if there is one, of the class label."""
    images = [
        key
        for key, feature in features.items()
        if feature.np_dtype == np.uint8 and len(feature.shape or ()) == 3
    ]
    if "image" in images:
        images = ["image"]
    if len(images) != 1:
        raise UsageError(
            f"data set {name!r} needs one uint8 image feature and has {images or 'none'}; "
            f"its features are {', '.join(features)}"
        )
    labels = [key for key, f in features.items() if type(f).__name__ == "ClassLabel"]
    label = "label" if "label" in labels else (labels[0] if len(labels) == 1 else None)
    return images[0], label


def _decode(
    builder: Any, name: str, split: str, image_key: str, label_key: str | None, directory: Path
) -> None:
    try:
        source = builder.as_data_source(split)
    except NotImplementedError as error:
        raise UsageError(
            f"data set {name!r} in {builder.data_path} is in a format without random access: "
            "prepare it with file_format='array_record' in another --data-dir"
        ) from error
    if len(source) == 0:
        raise UsageError(f"split {split!r} of data set {name!r} is empty")
    names = tuple(builder.info.features[label_key].names) if label_key else ()
    print(f"decoding {name} {split}: {len(source):,} images, once ...", file=sys.stderr)
    shape = source[0][image_key].shape
    chunks = _decoded_chunks(source, name, shape, image_key, label_key)
    build_cache(directory, len(source), shape, names, chunks)


def _decoded_chunks(
    source: Any, name: str, shape: tuple[int, ...], image_key: str, label_key: str | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(source), _CHUNK):
        records = source.__getitems__(list(range(start, min(start + _CHUNK, len(source)))))
        for record in records:
            if record[image_key].shape != shape:
                raise UsageError(
                    f"images of data set {name!r} differ in size ({shape} and "
                    f"{record[image_key].shape}): only images of one size can be batched"
                )
        images = np.stack([record[image_key] for record in records])
        labels = [record[label_key] if label_key else -1 for record in records]
        yield images, np.asarray(labels, np.int32)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's own bars and prints, and absl's advice, off the terminal."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    with quiet_absl(logging.ERROR), contextlib.redirect_stdout(io.StringIO()):
        yield
