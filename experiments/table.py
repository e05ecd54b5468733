"""RESULTS.md, written from what runs left and never by hand.

Command:   python experiments/table.py --runs runs/vae runs/autoencoder
Expected:  `experiments/measured.json` holds their figures, and `experiments/RESULTS.md` shows it
Cost:      seconds
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aejax.cli.flags import one_line_errors, parse
from aejax.errors import UsageError
from aejax.experiments.results_page import Measured, page
from aejax.runs import directory as files
from aejax.runs.config import Config, to_json
from aejax.runs.opening import load_run
from aejax.runs.run import Run

HERE = Path(__file__).resolve().parent
MEASURED, PAGE = HERE / "measured.json", HERE / "RESULTS.md"
TABLE = "table.json"  # what a script without a run leaves
# What changes no figure, beside the seed, of which there are several.
ELSEWHERE = Config().resumable() - {"epochs"} | {"seed"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Add what was measured to `measured.json`, and write RESULTS.md from it."""

    runs: tuple[str, ...] = ()
    """Directories of runs, of populations and of scripts that leave a table; those of one command
    are put together by their seeds."""


def command(config: Config) -> str:
    """The command that trains it, defaults and what changes no figure left out."""
    defaults: dict[str, Any] = to_json(type(config)())
    words = [f"python experiments/{config.name}.py"]
    for field, value in to_json(config).items():
        if field in ELSEWHERE or value == defaults[field]:
            continue
        if isinstance(value, dict):  # one of several dataclasses, with its own flags
            own = dataclasses.asdict(type(getattr(config, field))())
            words += [] if value["name"] == defaults[field]["name"] else flag(field, value["name"])
            words += [w for k in own if value[k] != own[k] for w in flag(k, value[k])]
        else:
            words += flag(field, value)
    return " ".join(words)


def flag(field: str, value: Any) -> list[str]:
    """The words that set a field."""
    values = value if isinstance(value, list) else [value]
    return [f"--{field.replace('_', '-')}", *([] if value is True else map(str, values))]


def entry(run: Run) -> dict[str, Any]:
    """What the page shows of a run.

    Raises:
        UsageError: if the run is not finished, or was trained further than it was measured.
    """
    summary, results = _left(run, files.SUMMARY), _left(run, files.RESULTS)
    if summary is None or summary["epochs"] != run.config.epochs:
        raise UsageError(f"{run.workdir} is not finished: go on with it, with --resume")
    if summary["test"] != run.metrics:
        raise UsageError(f"{run.workdir} was trained on after its {files.SUMMARY} was written")
    watched = [line for line in run.history if line["split"] == "validation"]
    score = {"score": run.recipe.objective.score(watched[-1])} if watched else {}
    return {
        "metrics": run.metrics,
        "results": results or {},
        "parameters": summary["parameters"],
    } | score


def _left(run: Run, name: str) -> Any:
    path = run.workdir / name
    return json.loads(path.read_text()) if path.exists() else None


def run_directories(workdir: Path) -> Iterator[Path]:
    """The runs in a directory: itself, or the members of a population."""
    if (workdir / files.POPULATION).exists():
        yield from sorted((workdir / files.MEMBERS).iterdir())
    else:
        yield workdir


def add(measured: Measured, workdir: Path) -> None:
    """Adds what a directory holds.

    Raises:
        UsageError: if that is neither a finished run nor a table.
    """
    if (workdir / TABLE).exists():
        table = json.loads((workdir / TABLE).read_text())
        measured["tables"][table.pop("command")] = table
        return
    for directory in run_directories(workdir):
        run = load_run(directory)
        seeds = measured["runs"].setdefault(command(run.config), {})
        seeds[str(run.config.seed)] = entry(run)


def read(path: Path = MEASURED) -> Measured:
    """What has been measured: "runs" by command and seed, "tables" by command."""
    if not path.exists():
        raise UsageError(f"{path} does not exist: run table.py of a checkout, which has it")
    return json.loads(path.read_text())


def main() -> None:
    """Parses the flags, adds what was measured and writes the page."""
    with one_line_errors("table.py"):
        arguments = parse(Arguments, "table.py", sys.argv[1:])
        measured = read()
        for workdir in arguments.runs:
            add(measured, Path(workdir))
        measured = {kind: dict(sorted(found.items())) for kind, found in measured.items()}
        files.write_json(MEASURED, measured)
        PAGE.write_text(page(measured))


if __name__ == "__main__":
    main()
