"""The notebooks: what is committed came from a whole run, and they run."""

import os
import pathlib
import re

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
FOLDER = pathlib.Path(__file__).parents[1] / "examples/notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", 4)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed_came_from_a_whole_run(name):
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs) >= 4
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text) < 500_000 and not re.search(r"/(work|root|home|tmp)/|\x1b", text)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / link).exists(), link


@pytest.mark.long
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs(name, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]), prepend=os.pathsep)
    notebook = read(name)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": os.getcwd()}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    if name == "tutorial":
        assert float(re.findall(r"best: ([\d.]+)", printed)[-1]) > 0.94
        assert float(re.search(r"largest difference from mindvit's (\S+)", printed)[1]) < 1e-6
    else:
        assert float(re.search(r"best epoch \d+: top-1 ([\d.]+)", printed)[1]) > 0.8
        assert len(re.findall(r"new (\w+)\.png: \{\d: '\1'\}", printed)) >= 2
