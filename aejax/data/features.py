"""What records hold by name, and which of it becomes arrays."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aejax.errors import UsageError

_X = ("x", "image", "images", "img", "data")
_LABEL = ("label", "labels", "y", "target", "targets")


class Feature(NamedTuple):
    """What records hold under one name.

    Attributes:
        dtype: of its values; None if they are no numbers.
        shape: of one record; None for a side that may differ.
        classes: what its integers stand for, if they stand for something.
        beside: whether it comes along with x by its own name, unasked; it is no label then.
    """

    dtype: np.dtype | None
    shape: tuple[int | None, ...] = ()
    classes: tuple[str, ...] | None = None
    beside: bool = False

    @property
    def is_label(self) -> bool:
        """Whether it is one integer a record that may be a label."""
        is_integer = self.dtype is not None and self.dtype.kind in "uib"
        return is_integer and self.shape in ((), (1,)) and not self.beside

    def __str__(self) -> str:
        if self.dtype is None:
            return "no numbers of one shape"
        if self.classes is not None:
            return f"{len(self.classes)} classes"
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.dtype} [{sides}]"


Features = Mapping[str, Feature]


def choose_arrays(
    name: str, features: Features, x: str | None, conditions: Sequence[str]
) -> dict[str, str]:
    """Which feature of a data set becomes which array: "x", "label", conditions, what is beside.

    x is by default what is called "x" or "image", else the only feature with a shape that is no
    label. The label is an integer that is called "label", else the only one with named classes.

    Raises:
        UsageError: if a name is unknown or is not of numbers, or no or several features could be
            x; it lists what was found.
    """
    found = ", ".join(f"{key} ({feature})" for key, feature in features.items())
    for key in conditions if x is None else (x, *conditions):
        if key not in features or features[key].dtype is None:
            raise UsageError(f"data set {name!r} has no numbers called {key!r}: it has {found}")
    label = _label(features)
    possible = [x] if x is not None else _possible_x(features, label)
    if len(possible) != 1:
        several = "several features" if possible else "no feature"
        raise UsageError(
            f"data set {name!r} has {several} that could be x: name one with --x; it has {found}"
        )
    arrays = {"x": possible[0]}
    if label not in (None, possible[0]):
        arrays["label"] = str(label)
    for key in set(conditions) - set(arrays.values()):
        if key in ("x", "label"):
            raise UsageError(
                f"{key} ({features[key]}) of data set {name!r} cannot be a condition by this name, "
                f"which is that of {'a class' if key == 'label' else 'what is modelled'}: rename it"
            )
    along = [*conditions, *(key for key, feature in features.items() if feature.beside)]
    return arrays | {key: key for key in along if key not in arrays.values()}


def _possible_x(features: Features, label: str | None) -> list[str]:
    numbers = {k: f for k, f in features.items() if f.dtype is not None}
    for key in _X:
        if key in numbers and key != label:
            return [key]
    return [k for k, f in numbers.items() if f.shape and f.classes is None and k != label]


def _label(features: Features) -> str | None:
    for key in _LABEL:
        if key in features and features[key].is_label:
            return key
    found = [key for key, f in features.items() if f.classes is not None and f.is_label]
    return found[0] if len(found) == 1 else None
