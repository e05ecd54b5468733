"""Where scripts still import `load_dataset` from."""

from aejax.data.load import load_dataset

__all__ = ["load_dataset"]
