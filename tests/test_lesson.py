"""The notebook is its script, finds the package, and runs from top to bottom."""

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbclient
import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def test_the_notebook_is_made_from_its_script():
    script, notebook = (jupytext.read(EXPERIMENTS / f"lesson.{end}") for end in ("py", "ipynb"))
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in script.cells]
    assert not any(cell.get("outputs") for cell in notebook.cells)


def first_cell(cwd, before="", **variables):
    """Runs the first cell of code where nothing is installed; pip only says what it is given."""
    (cell, *_) = [
        c for c in jupytext.read(EXPERIMENTS / "lesson.py").cells if c.cell_type == "code"
    ]
    program = "\n".join(
        [
            "import subprocess",
            "subprocess.run = lambda command, check: print('pip', command[-1])",
            before,
            cell.source,
            "found = importlib.util.find_spec('aejax')",
            "print('found', found and found.origin)",
        ]
    )
    away = ("PYTHONPATH", "AEJAX_SOURCE")
    environment = {k: v for k, v in os.environ.items() if k not in away} | variables
    return subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path):
    """A clone of the repository, by the name that git gives it."""
    for folder in ("aejax", "experiments"):
        (tmp_path / "aejax" / folder).mkdir(parents=True)
    (tmp_path / "aejax" / "aejax" / "__init__.py").touch()
    return tmp_path / "aejax"


def test_it_installs_from_the_clone_that_it_is_in_or_beside(clone):
    for folder in (clone / "experiments", clone.parent):
        assert first_cell(folder).stdout.splitlines() == [f"pip {clone}[examples]", "found None"]


def test_or_from_what_aejax_source_names(clone, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for source, wanted in [
        (str(clone), f"{clone}[examples]"),
        ("git+file:///some/where", "aejax[examples] @ git+file:///some/where"),
    ]:
        done = first_cell(elsewhere, AEJAX_SOURCE=source)
        assert done.stdout.splitlines()[0] == f"pip {wanted}", done.stderr
    done = first_cell(elsewhere)
    assert f"aejax is not installed, and {elsewhere} is in or beside no clone" in done.stderr
    assert "set AEJAX_SOURCE" in done.stderr


def test_a_clone_does_not_hide_the_installed_package(clone, tmp_path):
    installed = tmp_path / "installed" / "aejax" / "__init__.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    # As `pip install -e` leaves it: asked after all folders of sys.path.
    editable = f"""
import importlib.util, sys

class Editable:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, {str(installed)!r}) \\
            if name == "aejax" else None

sys.meta_path.append(Editable)
"""
    done = first_cell(clone.parent, editable)
    assert done.stdout.splitlines() == [f"found {installed}"], done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs_from_top_to_bottom(monkeypatch):
    monkeypatch.setenv("LESSON_EPOCHS", "1")
    monkeypatch.setenv("XLA_FLAGS", "")
    notebook = jupytext.read(EXPERIMENTS / "lesson.ipynb")
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = [
        output
        for cell in cells
        for output in cell.outputs
        if output.output_type == "display_data" and "image/png" in output.data
    ]
    assert len(pictures) > 15
    assert "nats" in cells[-1].outputs[-1].text
