"""The README shows what was measured, in the words of the commands."""

import importlib.util
from pathlib import Path

import pytest

import aejax
from aejax.errors import UsageError
from aejax.experiments import autoencoder, table

ROOT = Path(__file__).parent.parent


def test_the_readme_shows_what_was_measured():
    text = (ROOT / "README.md").read_text()
    assert table.with_table(text, table.read()) == text


def test_every_command_names_a_script_and_flags_that_exist():
    for command in table.read():
        script, *words = command.removeprefix("python experiments/").split()
        spec = importlib.util.find_spec(f"aejax.experiments.{script.removesuffix('.py')}")
        assert spec is not None, command
        config = importlib.import_module(spec.name).Config()
        for word in words:
            if word.startswith("--"):
                assert hasattr(config, word[2:].replace("-", "_")), command


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


def test_marks_must_be_there():
    with pytest.raises(UsageError, match="lacks the marks"):
        table.with_table("no table", {})
