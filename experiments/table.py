"""The README's table of experiments, written from what runs left and never by hand.

Command:   python experiments/table.py --runs runs/vae runs/autoencoder
Expected:  `experiments/measured.json` holds their figures, and README.md shows it
Cost:      seconds
"""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

from aejax.errors import UsageError
from aejax.runs import directory as files
from aejax.runs.config import RESUMABLE, Config, to_json
from aejax.runs.flags import one_line_errors, parse
from aejax.runs.run import Run, load_run

HERE = Path(__file__).resolve().parent
MEASURED = HERE / "measured.json"
README = HERE.parent / "README.md"
# The lesson's own code in Keras 3.15 on Fashion-MNIST, one seed: command -> metric, last test loss.
KERAS = {
    "conv_autoencoder.py --dataset fashion_mnist": ("reconstruction_per_pixel", 0.28115),
    "denoising.py --dataset fashion_mnist": ("reconstruction_per_pixel", 0.30940),
    "super_resolution.py --dataset fashion_mnist": ("reconstruction_per_pixel", 0.28239),
    "sparse_autoencoder.py --dataset fashion_mnist": ("reconstruction_per_pixel", 0.28407),
    "sparse_autoencoder.py --dataset fashion_mnist --epochs 100 --kind deep": (
        "reconstruction_per_pixel",
        0.27373,
    ),
    "lesson_vae.py --dataset fashion_mnist --slip": ("loss", 26.76491),
}
RATE = re.compile(r" --(?:learning-rate|schedule) \S+")
# What changes no figure, beside the seed, of which there are several.
ELSEWHERE = RESUMABLE - {"epochs"} | {"seed"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments:
    """Add finished runs to `measured.json`, and write the README's table from it."""

    runs: tuple[str, ...] = ()
    """Run directories to add; runs of one command and other seeds are averaged."""


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
    """What the table shows of a run."""
    summary = json.loads((run.workdir / files.SUMMARY).read_text())
    results = run.workdir / files.RESULTS
    return {
        "headline": run.recipe.headline(run.metrics),
        "metrics": run.metrics,
        "results": json.loads(results.read_text()) if results.exists() else {},
        "parameters": summary["parameters"],
        "seconds": summary.get("seconds"),
    }


def rows(measured: dict[str, dict[str, Any]]) -> list[str]:
    """The table in Markdown; a row a command, of its first seed, with the mean over all."""
    lines = ["| command | test result | parameters | seconds |", "|---|---|---|---|"]
    for name, seeds in measured.items():
        if name.startswith("python experiments/iwae.py"):  # its bounds are not comparable
            continue
        first = seeds[min(seeds, key=int)]
        result = first["headline"]
        if len(seeds) > 1:
            losses = [seed["metrics"]["loss"] for seed in seeds.values()]
            spread = f"{min(losses):.2f} to {max(losses):.2f}"
            result += f"; loss of {len(seeds)} seeds {sum(losses) / len(losses):.2f} ({spread})"
        seconds = "" if first["seconds"] is None else f"{first['seconds']:.0f}"
        lines.append(f"| `{name}` | {result} | {first['parameters']:,} | {seconds} |")
    return lines


def keras_rows(measured: dict[str, dict[str, Any]]) -> list[str]:
    """The recipes that Keras was measured on, and the best of ours at their size and epochs."""
    lines = ["| recipe | Keras | aejax | difference | ours |", "|---|---|---|---|---|"]
    for words, (metric, keras) in KERAS.items():
        seeds = measured.get(f"python experiments/{words}", {})
        if not seeds:
            continue
        values = [seed["metrics"][metric] for seed in seeds.values()]
        mean = sum(values) / len(values)
        ours = best_rate(measured, words, metric)
        spread = f"{min(values):.5g} to {max(values):.5g}, {len(values)} seeds"
        lines.append(
            f"| `{words}` | {keras:.5g} | {mean:.5g} ({spread if len(values) > 1 else 'one seed'}) "
            f"| {mean / keras - 1:+.2%} | {ours} |"
        )
    return lines


def best_rate(measured: dict[str, dict[str, Any]], words: str, metric: str) -> str:
    """The least of a metric by a command that differs in the learning rate alone, and its flags."""
    found = [
        (seed["metrics"][metric], " ".join(match.group().strip() for match in RATE.finditer(name)))
        for name, seeds in measured.items()
        if name != f"python experiments/{words}"
        and RATE.sub("", name) == f"python experiments/{words}"
        for seed in seeds.values()
    ]
    return "{:.5g} (`{}`)".format(*min(found)) if found else ""


def iwae_rows(measured: dict[str, dict[str, Any]]) -> list[str]:
    """The runs of iwae.py: -log p(x) in nats with its error over images, and active units."""
    lines = ["| command | -log p(x) | active units | seeds |", "|---|---|---|---|"]
    for name, seeds in measured.items():
        if not name.startswith("python experiments/iwae.py"):
            continue
        results = [s["results"] for s in seeds.values() if "standard_error" in s["results"]]
        if not results:  # trained without measuring log p(x)
            continue
        values = [result["negative_log_likelihood"] for result in results]
        units = [result["active_units"] for result in results]
        error = max(result["standard_error"] for result in results)
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
        mean = f"{sum(values) / len(values):.2f} +- {error:.2f}{spread}"
        words = name.removeprefix("python experiments/")
        lines.append(f"| `{words}` | {mean} | {', '.join(map(str, units))} | {len(values)} |")
    return lines


def with_table(text: str, mark: str, rows: list[str]) -> str:
    """The README's text with the table between the two marks of that name replaced."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise UsageError(f"README.md lacks the marks {begin} and {end}")
    table = "\n".join([begin, *rows, end])
    return pattern.sub(lambda _: table, text)


def with_tables(text: str, measured: dict[str, dict[str, Any]]) -> str:
    """The README's text with all tables written anew."""
    text = with_table(text, "table", rows(measured))
    text = with_table(text, "keras", keras_rows(measured))
    return with_table(text, "iwae", iwae_rows(measured))


def read(path: Path = MEASURED) -> dict[str, dict[str, Any]]:
    """What has been measured, by command and seed."""
    if not path.exists():
        raise UsageError(f"{path} does not exist: run table.py of a checkout, which has it")
    return json.loads(path.read_text())


def main() -> None:
    """Parses the flags, adds the runs and writes the table."""
    with one_line_errors("table.py"):
        arguments = parse(Arguments, "table.py", sys.argv[1:])
        measured = read()
        for workdir in arguments.runs:
            run = load_run(workdir)
            if not (run.workdir / files.SUMMARY).exists():
                raise UsageError(f"{workdir} is not finished: it has no {files.SUMMARY}")
            measured.setdefault(command(run.config), {})[str(run.config.seed)] = entry(run)
        files.write_json(MEASURED, dict(sorted(measured.items())))
        README.write_text(with_tables(README.read_text(), read()))


if __name__ == "__main__":
    main()
