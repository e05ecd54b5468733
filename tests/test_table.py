"""RESULTS.md shows what was measured, in the words of the commands."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

import aejax
from aejax.cli.flags import parse
from aejax.errors import UsageError
from aejax.experiments import autoencoder, results_page, table
from aejax.populations.members import members
from aejax.populations.population import run_population

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "experiments/measured.json"  # not the installed package's, which has none
SMALL = {"hidden": (8,), "batch_size": 1000, "epochs": 1, "devices": 1}


def test_the_page_shows_what_was_measured():
    text = (ROOT / "experiments/RESULTS.md").read_text()
    assert results_page.page(table.read(MEASURED)) == text


def test_results_in_the_readme_stand_on_the_page():
    readme = (ROOT / "README.md").read_text()
    section = readme[readme.index("## Results") :].split("\n## ")[0]
    page = (ROOT / "experiments/RESULTS.md").read_text().replace(",", "")
    numbers = re.findall(r"(?<![\w.])-?\d+\.\d+", section.replace(",", ""))
    assert numbers
    assert [n for n in numbers if n not in page] == []


def test_every_command_names_a_script_and_flags_that_exist():
    measured = table.read(MEASURED)
    assert measured["runs"]
    for command in measured["runs"]:
        script, *words = command.removeprefix("python experiments/").split()
        spec = importlib.util.find_spec(f"aejax.experiments.{script.removesuffix('.py')}")
        assert spec is not None, command
        config = parse(importlib.import_module(spec.name).Config, script, words)
        assert table.command(config) == command


def test_a_command_leaves_defaults_out():
    config = autoencoder.Config(latent_dim=3, hidden=(8, 4), workdir="r", seed=2)
    expected = "python experiments/autoencoder.py --latent-dim 3 --hidden 8 4"
    assert table.command(config) == expected


@pytest.mark.slow
def test_a_population_is_added_member_by_member():
    run_population(members(autoencoder.Config(workdir="p", **SMALL), "seeds=2", []))
    measured = {"runs": {}, "tables": {}}
    table.add(measured, Path("p"))
    ((command, seeds),) = measured["runs"].items()
    assert command.endswith("--epochs 1 --batch-size 1000 --hidden 8")
    assert sorted(seeds) == ["0", "1"]
    opened = aejax.load_run("p/members/01")
    assert seeds["1"]["metrics"] == opened.metrics
    line = list(results_page.training_rows(measured["runs"]))[-1]
    low, high = sorted(s["metrics"]["reconstruction"] for s in seeds.values())
    assert f"({low:.2f} to {high:.2f})" in line
    assert line.endswith("| 0, 1 |")


def test_a_run_that_went_on_after_its_summary_is_refused():
    run = aejax.run(autoencoder.Config(workdir="r", **SMALL))
    assert table.entry(run)["metrics"] == run.metrics
    saved = json.loads(Path("r/config.json").read_text())
    saved["fields"]["epochs"] = 2
    Path("r/config.json").write_text(json.dumps(saved))
    with pytest.raises(UsageError, match="r is not finished"):
        table.entry(aejax.load_run("r"))


def test_a_scripts_table_is_added():
    Path("s").mkdir()
    found = {"command": "python experiments/x.py", "seeds": [0, 1], "table": {"a": {"b": [1.5, 2]}}}
    Path("s/table.json").write_text(json.dumps(found))
    measured = {"runs": {}, "tables": {}}
    table.add(measured, Path("s"))
    section = results_page.table_section(*next(iter(measured["tables"].items())))
    assert section == "### `x.py`\n\nSeeds 0, 1.\n\n| | b |\n|---|---|\n| a | 1.750 (1.500 to 2) |"


def test_a_recipe_stands_beside_keras_and_what_validation_chose():
    def seeds(value, **fields):
        return {"0": {"metrics": {"reconstruction_per_pixel": value}} | fields}

    name = "python experiments/conv_autoencoder.py --dataset fashion_mnist"
    runs = {
        name: {str(i): seeds(v)["0"] for i, v in enumerate((0.28, 0.29))},
        f"{name} --learning-rate 0.1": seeds(0.1),  # chosen by nobody
        f"{name} --validation 100.0": seeds(0.25, score=3.0),
        f"{name} --learning-rate 0.01 --validation 100.0": seeds(0.26, score=2.0),
    }
    line = list(results_page.keras_rows(runs))[-1]
    assert "| 0.28115 | 0.28500 (0.28000 to 0.29000) | +1.37% |" in line
    assert line.endswith("| 0.26000 (`--learning-rate 0.01 --validation 100.0`) |")


def test_a_likelihood_stands_with_its_error_and_the_active_units():
    def seed(nll, units):
        found = {"negative_log_likelihood": nll, "standard_error": 0.5, "active_units": units}
        return {"results": found}

    name = "python experiments/iwae.py --dataset fashion_mnist"
    runs = {name: {"0": seed(230.0, 20), "1": seed(231.5, 21)}, "python experiments/vae.py": {}}
    (line,) = list(results_page.iwae_rows(runs))[2:]
    expected = "230.75 (230 to 231.50) | 0.50 | 20, 21 | 0, 1 |"
    assert line == f"| `iwae.py --dataset fashion_mnist` | {expected}"


def test_measures_become_columns():
    found = {"psnr_model": [1.0], "psnr_bicubic": [2.0], "ssim_model": [3.0], "share": [4.0]}
    assert results_page.pivoted(found, ("psnr", "ssim")) == {
        "model": {"psnr": [1.0], "ssim": [3.0]},
        "bicubic": {"psnr": [2.0]},
        "share": {"value": [4.0]},
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0], "1"),
        ([0.12345, 0.2], "0.1617 (0.1235 to 0.2000)"),
        ([-1005.371], "-1,005.37"),
        ([5.0, 5.0], "5"),
        ([1.0, None], "not finite"),
    ],
)
def test_a_cell_is_a_mean_with_its_range(values, text):
    assert results_page.cell(values) == text
