"""The index of public names in aejax/README.md is what the code says, and all of it is there."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "aejax" / "README.md"
HEADING = "## Public names\n"
ROOMS = [
    *("latents", "likelihoods", "divergences", "bounds", "estimators", "priors"),
    *("aggregate_posterior", "penalties", "metrics", "corruptions", "dequantization", "schedules"),
    *("axes", "precision", "admission"),
    *("nets", "models", "objectives", "data", "training", "evaluation"),
]


def public(room):
    """The public names of a room: what it lists, or what a module defines."""
    module = importlib.import_module(f"aejax.{room}")
    if hasattr(module, "__path__"):
        names = getattr(module, "__all__", None) or dir(module)
        return [
            name
            for name in names
            if getattr(getattr(module, name), "__module__", "").startswith("aejax.")
        ]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        if inspect.isfunction(value) or inspect.isclass(value)
    ]


def line(room, name):
    """A line of the index: the name, and the docstring's first with formula and shapes."""
    said = inspect.getdoc(getattr(importlib.import_module(f"aejax.{room}"), name))
    return f"- `{room}.{name}`: {said.splitlines()[0]}"


def index():
    return "\n".join(line(room, name) for room in ROOMS for name in sorted(public(room)))


def test_the_index_is_what_the_code_says():
    """If it is not: `python tests/test_index.py` writes it anew."""
    said = README.read_text().partition(HEADING)[2].partition("\n## ")[0]
    listed = [row for row in said.splitlines() if row.startswith("- `")]
    assert listed == index().splitlines()


def test_every_room_is_there_without_an_import_and_loads_nothing_before():
    rooms = [f"aejax.{room}" for room in ROOMS]
    code = (
        "import sys, aejax; before = {m for m in sys.modules if m.startswith('aejax.evaluation')}\n"
        "assert not before, before\n"
        "assert 'aejax.metrics' not in sys.modules and 'aejax.data' not in sys.modules\n"
        f"print({', '.join(rooms)}, aejax.metrics.psnr, aejax.evaluation.importance_estimate)\n"
        "print(aejax.data.load_dataset, aejax.training.TrainState, aejax.figures, aejax.runs)\n"
        "assert {'metrics', 'fit', 'evaluation'} <= set(dir(aejax))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    before, heading, after = README.read_text().partition(HEADING)
    intro, _, _ = after.partition("- `")
    _, next_heading, rest = after.partition("\n## ")
    README.write_text(before + heading + intro + index() + "\n" + next_heading + rest)
