"""Data: named arrays from any source, decoded once, kept on the device or streamed from disk."""

from aejax.lazily import lazily

_NAMES = {
    "Dataset": "dataset",
    "as_batch": "dataset",
    "binarized": "binary",
    "hold_out": "holdout",
    "load_dataset": "load",
}

__getattr__ = lazily("aejax.data", _NAMES)


def __dir__() -> list[str]:
    return sorted(_NAMES)
