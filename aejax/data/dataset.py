"""A split of a data set: named arrays with a common first axis."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.admission import as_array, as_int32, require_no_levels
from aejax.types import Batch, Spec

_AT_REST = (np.uint8, np.int32, np.float32, np.bool_)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Named arrays `[N, ...]` of one N, usually memory-mapped: `data["x"]`, `data["label"]`.

    `len(data)` is N; `keys`, `items`, `get` and `in` are those of a mapping by name.

    Attributes:
        arrays: "x" is what is modelled; "label" `[N]` a class, int32; others are conditions or
            masks by their own names. At rest uint8 (images), int32 (tokens, counts), float32 or
            bool; other integers and floats are cast where nothing is lost by it. Floats are finite,
            and none are images of 8-bit levels, which are uint8.
        names: what the integers of an array stand for, such as the classes' names for "label".
        name: the data set's name.
    """

    arrays: Mapping[str, np.ndarray]
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        arrays = {key: at_rest(key, values) for key, values in self.arrays.items()}
        for key, values in arrays.items():
            # What is mapped from the cache was looked at as it was decoded; what is read row by row
            # is not read here.
            if values.dtype == np.float32 and type(values) is np.ndarray:
                require_no_levels(key, values)
        lengths = {key: len(values) for key, values in arrays.items()}
        if "x" not in arrays:
            raise ValueError(f"arrays {', '.join(arrays) or 'none'}: name what is modelled 'x'")
        if len(set(lengths.values())) > 1:
            raise ValueError(f"arrays differ in length: {lengths}; give one row an example")
        object.__setattr__(self, "arrays", arrays)

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def __len__(self) -> int:
        return len(self.arrays["x"])

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __contains__(self, key: object) -> bool:
        return key in self.arrays

    def keys(self) -> Any:
        """The arrays' names."""
        return self.arrays.keys()

    def items(self) -> Any:
        """(name, array) of each."""
        return self.arrays.items()

    def get(self, key: str, default: Any = None) -> Any:
        """An array, or the default where there is none of that name."""
        return self.arrays.get(key, default)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes' names, empty where there are none."""
        return self.names.get("label", ())

    @property
    def labels(self) -> np.ndarray:
        """The class of each example, `[N]`; -1 where there is none."""
        return self.get("label", np.full(len(self), -1, np.int32))

    @property
    def labelled(self) -> bool:
        """Whether every example has a class."""
        return "label" in self and bool(len(self)) and int(np.min(self["label"])) >= 0

    def rows(self, chosen: Any) -> "Dataset":
        """The examples that an index, a slice or a mask chooses."""
        return self.replaced(**{key: values[chosen] for key, values in self.items()})

    def first(self, count: int) -> "Dataset":
        """The first `count` examples, or all where there are fewer."""
        return self.rows(slice(count))

    def replaced(self, **arrays: np.ndarray) -> "Dataset":
        """With other arrays of these names."""
        return dataclasses.replace(self, arrays={**self.arrays, **arrays})

    @property
    def spec(self) -> Spec:
        """What one example is on the device, by name."""
        return {key: on_device(values.shape[1:], values.dtype) for key, values in self.items()}


def at_rest(key: str, values: Any) -> np.ndarray:
    """An array in a type that is kept: uint8, int32, float32 or bool.

    Raises:
        ValueError: for a scalar, another kind of values, or integers beyond int32.
    """
    by_rows = hasattr(values, "dtype") and not isinstance(values, np.ndarray | jax.Array)
    values = values if by_rows else as_array(key, values)
    if values.ndim < 1:
        raise ValueError(f"{key} is a scalar: give an array [N, ...], one row an example")
    if values.dtype in _AT_REST:
        return values
    if np.issubdtype(values.dtype, np.integer):
        return as_int32(key, values)
    return values.astype(np.float32)


def on_device(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """What an array at rest becomes on the device: uint8 is float32 in [0, 1], others stay."""
    return jax.ShapeDtypeStruct(shape, jnp.float32 if dtype == np.uint8 else dtype)


def as_float(x: jax.Array) -> jax.Array:
    """An array as models take it: uint8 becomes float32 in [0, 1], others stay as they are."""
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x


def as_batch(arrays: Mapping[str, jax.Array]) -> Batch:
    """Arrays `[B, ...]` at rest as a batch."""
    return {key: _flat_as_float(values) for key, values in arrays.items()}


def _flat_as_float(x: jax.Array) -> jax.Array:
    # Flat while scaling, which XLA's CPU loops then vectorise.
    return as_float(x.reshape(len(x), math.prod(x.shape[1:]))).reshape(x.shape)
