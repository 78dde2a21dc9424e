"""The notebooks of examples/ run as they are, cell by cell; only their parameters are those of a short training."""

import re
import warnings
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

import patience

FOLDER = Path(__file__).parent.parent / "examples"
SHORT = """
CHECKPOINT = None
NUM_IMAGES = 30
NUM_STEPS = 6
"""


def read(name):
    return nbformat.read(FOLDER / name, as_version=4)


def run(notebook, folder):
    """Run a notebook in a folder, with parameters of a short training after its own; return its cells by their ids."""
    (place,) = (
        number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())
    )
    notebook.cells.insert(place + 1, new_code_cell(SHORT))
    client = NotebookClient(notebook, timeout=patience.SECONDS, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return {cell.id: cell for cell in notebook.cells}


def text(cell):
    return "".join(one.text for one in cell.outputs if one.output_type == "stream")


def shown(cell, kind):
    """Return what a cell shows of a MIME type."""
    return [one.data[kind] for one in cell.outputs if one.output_type == "display_data" and kind in one.data]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_as_written_by_hand(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of what nbformat would mend
        nbformat.validate(notebook)
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cell.id)
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.thorough
def test_retrain(tmp_path):
    cells = run(read("retrain.ipynb"), tmp_path)
    streams = [
        one for cell in cells.values() for one in cell.get("outputs", ()) if one.output_type == "stream"
    ]
    assert [one.text for one in streams if one.name == "stderr"] == []
    assert "30 images" in text(cells["check"])
    assert len(shown(cells["images"], "image/png")) == 3

    # One bar, which is full in the end, and says what the last evaluation has found; below it every evaluation.
    (bar,) = shown(cells["retrain"], "text/html")
    (line,) = shown(cells["retrain"], "text/plain")
    assert '<progress max="1" value="1.0000"' in bar
    assert re.match(r"step 6/6  loss \d.*  mAP 0\.\d{3} at 6", line)
    assert "step 3/6 " not in text(cells["retrain"])
    assert len(re.findall(r"Evaluation of step \d", text(cells["retrain"]))) == 4
    assert (tmp_path / "mine" / "evaluation.html").is_file()

    assert len(shown(cells["mistakes"], "image/png")) == 3
    assert (tmp_path / "exported.zip").is_file()
    found = shown(cells["predict"], "text/html")
    assert len(found) == 3
    assert all("data:image/jpeg;base64," in one for one in found)
