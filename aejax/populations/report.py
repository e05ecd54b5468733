"""What a population says together: means over seeds, a table, pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aejax import figures
from aejax.runs import directory as files

Record = dict[str, Any]


def groups(
    records: Sequence[Record], names: Sequence[str]
) -> dict[tuple[float, ...], list[Record]]:
    """The members of every combination of numbers, those of other seeds together."""
    found: dict[tuple[float, ...], list[Record]] = {}
    for record in records:
        found.setdefault(tuple(record[name] for name in names), []).append(record)
    return found


def table(records: Sequence[Record], names: Sequence[str]) -> list[str]:
    """A line a combination of numbers: mean +- standard deviation over its seeds."""
    metrics = list(records[0]["test"])
    columns = [*names, *metrics, *(["active"] if "active_units" in records[0] else [])]
    lines = ["  ".join(f"{column[:18]:>18s}" for column in columns)]
    for values, members in groups(records, names).items():
        alive = [m for m in members if m["diverged_at_step"] is None]
        if not alive:
            lines.append("  ".join(f"{v:.4g}" for v in values) + "  diverged")
            continue
        cells = [f"{value:.4g}" for value in values]
        cells += [_mean([m["test"][metric] for m in alive]) for metric in metrics]
        if "active_units" in records[0]:
            cells.append(_mean([m["active_units"] for m in alive]))
        lines.append("  ".join(f"{cell:>18s}" for cell in cells))
        results = [m["results"] for m in alive if m.get("results")]
        lines += [f"  {k:40s} {_mean([r[k] for r in results])}" for r in results[:1] for k in r]
    return lines


def pictures(
    records: Sequence[Record], names: Sequence[str], history: Sequence[Record]
) -> Iterator[tuple[str, Figure]]:
    """Bands of the test loss over seeds and, of a swept VAE, its rates and distortions."""
    labels = [", ".join(f"{n} {r[n]:.3g}" for n in names) for r in records]
    diverged = [r["diverged_at_step"] is not None for r in records]
    if all(diverged):
        return
    yield "losses", figures.loss_bands(history, labels, diverged)
    if names and "active_units" in records[0] and "kl" in records[0]["test"]:
        alive = [r for r, out in zip(records, diverged, strict=True) if not out]
        yield (
            "rate_distortion",
            figures.rate_distortion(
                [r["test"]["kl"] for r in alive],
                [r["test"]["reconstruction"] for r in alive],
                [r["active_units"] for r in alive],
            ),
        )


def leave_report(
    workdir: Path, records: Sequence[Record], names: Sequence[str], history: Sequence[Record]
) -> None:
    """Prints the table and leaves the figures."""
    for line in table(records, names):
        print(line)
    for record in records:
        if record["diverged_at_step"] is not None:
            print(f"{record['workdir']} diverged at step {record['diverged_at_step']}")
    folder = workdir / files.FIGURES
    folder.mkdir(exist_ok=True)
    drawn = []
    for name, figure in pictures(records, names, history):
        figure.savefig(folder / f"{name}.png", dpi=150)
        drawn.append(name)
    print(f"figures in {folder}/: {', '.join(drawn)}")


def _mean(values: Sequence[float | None]) -> str:
    finite = [value for value in values if value is not None]
    if len(finite) < len(values) or not finite:
        return "not finite"
    if len(finite) == 1:
        return f"{finite[0]:.5g}"
    return f"{np.mean(finite):.5g} +- {np.std(finite, ddof=1):.2g}"
