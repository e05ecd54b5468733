"""The README shows what was measured, in the words of the commands."""

import importlib.util
from pathlib import Path

import pytest

import aejax
from aejax.errors import UsageError
from aejax.experiments import autoencoder, table
from aejax.runs.flags import parse

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "experiments/measured.json"  # not the installed package's, which has none


def test_the_readme_shows_what_was_measured():
    text = (ROOT / "README.md").read_text()
    assert table.with_tables(text, table.read(MEASURED)) == text


def test_every_command_names_a_script_and_flags_that_exist():
    measured = table.read(MEASURED)
    assert measured
    for command in measured:
        script, *words = command.removeprefix("python experiments/").split()
        spec = importlib.util.find_spec(f"aejax.experiments.{script.removesuffix('.py')}")
        assert spec is not None, command
        config = parse(importlib.import_module(spec.name).Config, script, words)
        assert table.command(config) == command


def test_a_command_leaves_defaults_out():
    config = autoencoder.Config(latent_dim=3, hidden=(8, 4), workdir="r", seed=2)
    expected = "python experiments/autoencoder.py --latent-dim 3 --hidden 8 4"
    assert table.command(config) == expected


def test_an_entry_is_what_the_run_left():
    run = aejax.run(autoencoder.Config(workdir="r", epochs=1, hidden=(8,), batch_size=1000))
    entry = table.entry(aejax.load_run("r"))
    assert entry["metrics"] == run.metrics
    line = table.rows({"it": {"0": entry, "1": entry}})[-1]
    assert f"{run.metrics['reconstruction']:.2f} nats" in line
    assert f"of 2 seeds {run.metrics['loss']:.2f}" in line


def test_a_recipe_stands_beside_keras_and_its_best():
    name = "python experiments/conv_autoencoder.py --dataset fashion_mnist"
    seeds = {
        str(i): {"metrics": {"reconstruction_per_pixel": v}} for i, v in enumerate((0.28, 0.29))
    }
    best = {"0": {"metrics": {"reconstruction_per_pixel": 0.27}}}
    lines = table.keras_rows({name: seeds, f"{name} --schedule cosine": best})
    deep = "python experiments/sparse_autoencoder.py --dataset fashion_mnist --epochs 100"
    other = {f"{deep} --schedule cosine --kind deep": best, f"{deep} --kind deep": seeds}
    assert table.keras_rows(other)[-1].endswith("| 0.27 (`--schedule cosine`) |")
    simple = "python experiments/sparse_autoencoder.py --dataset fashion_mnist"
    assert table.keras_rows(other | {simple: seeds})[2].endswith("|  |")
    assert len(lines) == 3
    assert "| 0.28115 | 0.285 (0.28 to 0.29, 2 seeds) | +1.37% |" in lines[-1]
    assert lines[-1].endswith("| 0.27 (`--schedule cosine`) |")


def test_marks_must_be_there():
    with pytest.raises(UsageError, match="lacks the marks"):
        table.with_table("no table", "table", [])


def test_a_likelihood_stands_with_its_error_and_the_active_units():
    def seed(nll, units):
        found = {"negative_log_likelihood": nll, "standard_error": 0.5, "active_units": units}
        return {"results": found}

    name = "python experiments/iwae.py --dataset fashion_mnist"
    seeds = {"0": seed(230.0, 20), "1": seed(231.0, 21)}
    (line,) = table.iwae_rows({name: seeds, "python experiments/vae.py": {}})[2:]
    expected = "230.50 +- 0.50 (230.00 to 231.00) | 20, 21 | 2 |"
    assert line == f"| `iwae.py --dataset fashion_mnist` | {expected}"
