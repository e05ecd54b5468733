"""The text of RESULTS.md: what was measured, by command, with its seeds and their range."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Measured = dict[str, dict[str, Any]]
Seeds = Mapping[str, dict[str, Any]]

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
# Results that are of one measure of several things: script -> measures, which become columns.
MEASURES = {
    "denoising": ("bce_per_pixel", "psnr", "ssim"),
    "super_resolution": ("psnr", "ssim"),
    "sequence_autoencoder": ("squared_error", "semitones", "right_pitch"),
}
TUNED = re.compile(r" --(?:learning-rate|schedule|validation) \S+")
SCRIPT = "python experiments/"

HEAD = """# Results

`experiments/table.py` writes this page from what runs left; nothing in it is typed by hand. A value
is the mean over the seeds, in brackets the least and the greatest; one without brackets is of one
seed, or the same for all. Losses, KL and log-likelihoods are nats per example, on test data. Repeat
a row by its command and `--seed`, or all its seeds at once with `--population seeds=3`."""


def page(measured: Measured) -> str:
    """The whole page."""
    runs, tables = measured["runs"], measured["tables"]
    sections = [
        HEAD,
        "## Training",
        "\n".join(training_rows(runs)),
        _KERAS_TEXT,
        "\n".join(keras_rows(runs)),
        "## Importance-weighted autoencoders\n\n" + _IWAE_TEXT,
        "\n".join(iwae_rows(runs)),
        "## What stands beside the models",
        *results_sections(runs),
        "## Comparisons of several models",
        *(table_section(command, found) for command, found in tables.items()),
    ]
    return "\n\n".join(sections) + "\n"


_KERAS_TEXT = """## Beside Keras

The lesson's recipes on Fashion-MNIST (60,000/10,000), test loss at the last epoch, beside the
lesson's own code in Keras 3.15 on the same images. Keras has one seed here; its convolutional
autoencoder with another ended at 0.28381, so differences of a percent say nothing. A `tuned` column
has the same networks for the same epochs, with the learning rate chosen on validation images."""

_IWAE_TEXT = """The network of Burda et al. 2016 on Fashion-MNIST, binarised anew at every step,
test images once, for 13 epochs: their ladder of 3,280 in three rungs. -log p(x) in nats by 5,000
draws of q(z|x) for each of 10,000 images, with the standard error over the images, which is far
larger than that between two models on the same images; active units of each seed."""


def training_rows(runs: Mapping[str, Seeds]) -> Iterator[str]:
    """A row a command: its test metrics, its size."""
    yield "| command | test metrics | parameters | seeds |"
    yield "|---|---|---|---|"
    for name, seeds in runs.items():
        if name.startswith(f"{SCRIPT}iwae.py"):  # what is compared of it has a table of its own
            continue
        metrics = collected(entry["metrics"] for entry in seeds.values())
        shown = [f"{k.replace('_', ' ')} {cell(v)}" for k, v in metrics.items() if k != "loss"]
        if not any(k in metrics for k in ("reconstruction", "elbo")) or "penalty" in metrics:
            shown.insert(0, f"loss {cell(metrics['loss'])}")
        size = next(iter(seeds.values()))["parameters"]
        yield f"| `{short(name)}` | {', '.join(shown)} | {size:,} | {numbered(seeds)} |"


def keras_rows(runs: Mapping[str, Seeds]) -> Iterator[str]:
    """The recipes that Keras was measured on, and the tuned ones at their size and epochs."""
    found = {words: runs[SCRIPT + words] for words in KERAS if SCRIPT + words in runs}
    ours = {words: tuned(runs, words, KERAS[words][0]) for words in found}
    shown = any(ours.values())
    yield "| recipe | Keras | aejax | difference |" + (" tuned |" if shown else "")
    yield "|---|---|---|---|" + ("---|" if shown else "")
    for words, seeds in found.items():
        metric, keras = KERAS[words]
        values = [entry["metrics"][metric] for entry in seeds.values()]
        off = sum(values) / len(values) / keras - 1
        row = f"| `{words}` | {keras:.5g} | {cell(values, 5)} | {off:+.2%} |"
        yield row + (f" {ours[words]} |" if shown else "")


def tuned(runs: Mapping[str, Seeds], words: str, metric: str) -> str:
    """The test metric of the command that validation images choose, and its flags.

    Commands that differ from `words` in the learning rate, with the same images held out, compete.
    """
    found = {
        name: seeds
        for name, seeds in runs.items()
        if "--validation" in name and TUNED.sub("", name) == SCRIPT + words
    }
    if not found:
        return ""
    name, seeds = min(found.items(), key=lambda item: _mean_score(item[1]))
    values = [entry["metrics"][metric] for entry in seeds.values()]
    flags = " ".join(match.group().strip() for match in TUNED.finditer(name))
    return f"{cell(values, 5)} (`{flags}`)"


def _mean_score(seeds: Seeds) -> float:
    return sum(entry["score"] for entry in seeds.values()) / len(seeds)


def iwae_rows(runs: Mapping[str, Seeds]) -> Iterator[str]:
    """The runs of iwae.py: -log p(x) with its error over images, and active units."""
    yield "| command | -log p(x) | standard error | active units | seeds |"
    yield "|---|---|---|---|---|"
    for name, seeds in runs.items():
        results = [s["results"] for s in seeds.values() if "standard_error" in s["results"]]
        if not name.startswith(f"{SCRIPT}iwae.py") or not results:
            continue
        values = [result["negative_log_likelihood"] for result in results]
        units = ", ".join(str(result["active_units"]) for result in results)
        error = max(result["standard_error"] for result in results)
        yield f"| `{short(name)}` | {cell(values)} | {error:.2f} | {units} | {numbered(seeds)} |"


def results_sections(runs: Mapping[str, Seeds]) -> Iterator[str]:
    """A table a command that measures more than its metrics."""
    for name, seeds in runs.items():
        found = collected(entry["results"] for entry in seeds.values() if entry["results"])
        if not found or name.startswith(f"{SCRIPT}iwae.py"):
            continue
        script = short(name).partition(".py")[0]
        count = {k: v for k, v in seeds.items() if v["results"]}
        yield f"### `{short(name)}`\n\nSeeds {numbered(count)}."
        yield "\n".join(grid(pivoted(found, MEASURES.get(script, ()))))


def table_section(command: str, found: dict[str, Any]) -> str:
    """A script's own table."""
    title = f"### `{short(command)}`\n\nSeeds {', '.join(map(str, found['seeds']))}."
    return title + "\n\n" + "\n".join(grid(found["table"]))


def pivoted(
    found: Mapping[str, list[float]], measures: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """Results by name as rows and columns: "psnr_model" is row "model", column "psnr"."""
    table: dict[str, dict[str, list[float]]] = {}
    for name, values in found.items():
        row, column = name, "value"
        for measure in measures:
            rest = name.removeprefix(f"{measure}_").removesuffix(f"_{measure}")
            if rest != name:
                row, column = rest, measure
                break
        table.setdefault(row, {})[column] = values
    return table


def grid(table: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    """Rows and columns in Markdown."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    yield f"| | {' | '.join(column.replace('_', ' ') for column in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, row in table.items():
        cells = [cell(row[column]) if column in row else "" for column in columns]
        yield f"| {name.replace('_', ' ')} | {' | '.join(cells)} |"


def collected(of_seeds: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """The values of all seeds by name; names that a seed lacks are left out."""
    rows = list(of_seeds)
    names = [name for name in (rows[0] if rows else ()) if all(name in row for row in rows)]
    return {name: [row[name] for row in rows] for name in names}


def cell(values: Sequence[float | None], digits: int = 4) -> str:
    """The mean, and the least and the greatest of several."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return "not finite"
    mean, low, high = (
        number(v, digits) for v in (math.fsum(known) / len(known), min(known), max(known))
    )
    return mean if low == high else f"{mean} ({low} to {high})"


def number(value: float, digits: int) -> str:
    """With so many significant digits, two decimals from 10 on, and none where it is whole."""
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:,.2f}" if abs(value) >= 10 and digits < 5 else f"{value:#.{digits}g}"


def numbered(seeds: Iterable[str]) -> str:
    """The seeds, in order."""
    return ", ".join(sorted(seeds, key=int))


def short(command: str) -> str:
    """A command without the words that all have."""
    return command.removeprefix(SCRIPT)
