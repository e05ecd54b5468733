"""A folder of images."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

from aejax.data.features import Feature
from aejax.data.source import Rows, Source, readable, stamps
from aejax.errors import UsageError

_KINDS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_SPLITS = ("train", "test", "validation", "valid", "val")
_GREY = ("1", "L", "LA")
_DEEP = ("F", "I")  # beside those that start with I;16: Pillow would cut them to 8 bits
_CURE = "replace or remove it"


def open_folder(name: str, path: Path) -> Source:
    """Images in `path`, or in its train/ and test/; the folders within are the classes, if any.

    They are grey if all are, else of three colours; what is transparent is taken as opaque.

    Raises:
        UsageError: if there are no images, or it is not clear which folders are classes.
    """
    roots = _roots(path)
    files = {split: _images(root) for split, root in roots.items()}
    for split, found in files.items():
        if not found:
            kinds = ", ".join(sorted(kind[1:] for kind in _KINDS))
            raise UsageError(
                f"folder {str(roots[split])!r} holds no images: give some of {kinds}, or MIDI files"
            )
    classes = _classes(roots, files)
    features = {"image": Feature(np.dtype(np.uint8), (None, None, None))}
    if classes:
        features["label"] = Feature(np.dtype(np.int32), (), classes)
    channels = functools.cache(lambda: _mode([file for found in files.values() for file in found]))

    def read(split: str, rows: Rows, keys: Sequence[str]) -> dict[str, Iterable[object]]:
        some = [files[split][row] for row in rows]
        records: dict[str, Iterable[object]] = {"image": (_decoded(f, channels()) for f in some)}
        if classes:
            labels = [classes.index(f.relative_to(roots[split]).parts[0]) for f in some]
            records["label"] = np.asarray(labels, np.int32)
        return records

    return Source(
        name,
        features,
        {split: len(found) for split, found in files.items()},
        [PIL.__version__, [stamps(path, found) for found in files.values()]],
        read,
        lambda split, row: str(files[split][row]),
    )


def _roots(path: Path) -> dict[str, Path]:
    """The folder of each split."""
    folders = {f.name for f in path.iterdir() if f.is_dir() and not f.name.startswith(".")}
    if "train" not in folders:
        return {"train": path}
    if other := folders - set(_SPLITS):
        raise UsageError(
            f"folder {str(path)!r} holds train beside {min(other)}, and it is not clear whether "
            "train is a split or a class: put the classes into a folder train, the rest elsewhere"
        )
    return {split: path / split for split in _SPLITS if split in folders}


def _images(root: Path) -> list[Path]:
    found = (file for file in root.rglob("*") if file.suffix.lower() in _KINDS and file.is_file())
    return sorted(f for f in found if not any(p.startswith(".") for p in f.relative_to(root).parts))


def _classes(roots: dict[str, Path], files: dict[str, list[Path]]) -> tuple[str, ...]:
    """The names of the folders that the images lie in; none if they lie in no folder."""
    places = {f: f.relative_to(roots[split]).parts for split, found in files.items() for f in found}
    loose = [file for file, parts in places.items() if len(parts) == 1]
    if loose and len(loose) < len(places):
        raise UsageError(f"{loose[0]} lies beside the classes' folders: move it into one of them")
    return () if loose else tuple(sorted({parts[0] for parts in places.values()}))


def _mode(files: list[Path]) -> str:
    grey = True
    for file in files:
        with readable(file, _CURE), Image.open(file) as image:
            if image.mode in _DEEP or image.mode.startswith("I;"):
                raise UsageError(
                    f"{file} has more than 8 bits a value: save it with 8, or all "
                    "images as a .npy of uint16 or float32"
                )
            grey = grey and image.mode in _GREY
    return "L" if grey else "RGB"


def _decoded(file: Path, mode: str) -> np.ndarray:
    with readable(file, _CURE), Image.open(file) as image:
        opaque = image.convert("RGBA") if "transparency" in image.info else image
        upright = ImageOps.exif_transpose(opaque).convert(mode)
        return np.asarray(upright).reshape(upright.height, upright.width, -1)
