"""A table of what a script found with several seeds: on the terminal, and as `table.json`."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.runs import directory as files
from aejax.runs.optimisation import flag

# row -> column -> the value of each seed
SeedTable = dict[str, dict[str, list[float]]]
_CHANGE_NOTHING = ("workdir", "data_dir", "seed")


def over_seeds(tables: Iterable[Mapping[str, Mapping[str, float]]]) -> SeedTable:
    """The tables of one seed each, row -> column -> value, as one of all seeds."""
    found: SeedTable = {}
    for table in tables:
        for name, row in table.items():
            for column, value in row.items():
                found.setdefault(name, {}).setdefault(column, []).append(value)
    return found


def column_means(table: SeedTable) -> dict[str, list[float]]:
    """The mean over the rows, for each column and seed."""
    columns = next(iter(table.values()))
    return {c: np.mean([row[c] for row in table.values()], axis=0).tolist() for c in columns}


def text(table: SeedTable, corner: str = "") -> list[str]:
    """A line a row: the mean over the seeds and, of several, their range below it."""
    columns = list(next(iter(table.values())))
    widths = [max(len(column), 12) + 2 for column in columns]
    first = max(map(len, [corner, *table])) + 1

    def line(name: str, cells: Iterable[str]) -> str:
        return name.ljust(first) + "".join(
            cell.rjust(width) for cell, width in zip(cells, widths, strict=True)
        )

    found = [line(corner, columns)]
    for name, row in table.items():
        found.append(line(name, [f"{np.mean(row[c]):.4g}" for c in columns]))
        if len(row[columns[0]]) > 1:
            found.append(line("", [f"{min(row[c]):.3g}-{max(row[c]):.3g}" for c in columns]))
    return found


def leave(
    workdir: Path, script: str, arguments: Any, seeds: Sequence[int], table: SeedTable
) -> None:
    """Writes `table.json`: the command, with the flags that change the table, seeds and table.

    Args:
        workdir: where to; it is made.
        script: the script's file name.
        arguments: its dataclass of flags, whose fields have defaults.
        seeds: in the order of the table's values.
        table: what was found.
    """
    words = [f"python experiments/{script}"]
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if value != field.default and field.name not in _CHANGE_NOTHING:
            values = value if isinstance(value, tuple) else (value,)
            words += [flag(field.name), *map(str, values)]
    workdir.mkdir(parents=True, exist_ok=True)
    record = {"command": " ".join(words), "seeds": list(seeds), "table": table}
    files.write_json(workdir / "table.json", record)
