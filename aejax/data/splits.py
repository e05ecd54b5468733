"""The rows of a split: TFDS's expressions for every source, and a test split for every data set."""

from collections.abc import Mapping

import numpy as np

from aejax.data.holdout import held_out
from aejax.data.source import Rows
from aejax.errors import UsageError

Parts = list[tuple[str, Rows]]
"""(a split of the source, rows of it), one after the other."""

_VALIDATION = ("validation", "valid", "val", "dev")
_SHARE = 0.1


def split_parts(name: str, lengths: Mapping[str, int], split: str) -> Parts:
    """The rows of "train", "test" or any of TFDS's expressions: "train[:1000]", "train+test".

    Data without a test split still has one: its validation split, if there is one; otherwise a
    tenth of its train split, drawn at random as a function of its size alone, is "test", and the
    rest is "train".

    Args:
        name: the data set's, for errors.
        lengths: the records of each split of the source.
        split: the expression.

    Raises:
        UsageError: if it names no split, or no rows of one.
    """
    splits = with_test(lengths)
    parts = [(split, 0, len(splits[split][1]))] if split in splits else _parse(name, splits, split)
    chosen = [(splits[key][0], splits[key][1][start:stop]) for key, start, stop in parts]
    if not any(len(rows) for _, rows in chosen):
        raise UsageError(f"split {split!r} of data set {name!r} is empty: {_sizes(splits)}")
    return chosen


def with_test(lengths: Mapping[str, int]) -> dict[str, tuple[str, Rows]]:
    """The splits that a person can name: each is rows of a split of the source."""
    splits: dict[str, tuple[str, Rows]] = {k: (k, range(n)) for k, n in lengths.items()}
    if "test" in splits or "train" not in splits:
        return splits
    for key in _VALIDATION:
        if key in splits:
            return splits | {"test": splits[key]}
    total = lengths["train"]
    held = held_out(total, min(max(1, round(_SHARE * total)), max(0, total - 1)))
    train, test = (np.flatnonzero(rows) for rows in (~held, held))
    return splits | {"train": ("train", train), "test": ("train", test)}


def _parse(
    name: str, splits: Mapping[str, tuple[str, Rows]], split: str
) -> list[tuple[str, int, int]]:
    from tensorflow_datasets.core import ReadInstruction
    from tensorflow_datasets.core.splits import SplitInfo

    infos = {key: SplitInfo(key, [len(rows)], 0) for key, (_, rows) in splits.items()}
    try:
        parts = ReadInstruction.from_spec(split).to_absolute(infos)
    except (ValueError, NotImplementedError) as error:
        raise UsageError(
            f"data set {name!r} has no split {split!r}: it has {_sizes(splits)}; or give an "
            "expression such as train[:1000] or train+test"
        ) from error
    return [
        (p.splitname, p.from_ or 0, infos[p.splitname].num_examples if p.to is None else p.to)
        for p in parts
    ]


def _sizes(splits: Mapping[str, tuple[str, Rows]]) -> str:
    return ", ".join(f"{key} ({len(rows):,})" for key, (_, rows) in splits.items())
