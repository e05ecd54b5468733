"""The notebook is its script, and runs from top to bottom."""

from pathlib import Path

import jupytext
import nbclient
import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def test_the_notebook_is_made_from_its_script():
    script, notebook = (jupytext.read(EXPERIMENTS / f"lesson.{end}") for end in ("py", "ipynb"))
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in script.cells]
    assert not any(cell.get("outputs") for cell in notebook.cells)


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
