"""Makes the example notebook: the page on Python, executed in a fresh folder, with its output.

`python -m tests.docs.make_notebook docs/python.ipynb` (or `make notebook`) writes it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lobmodels.data.synthetic import write_dataset
from tests.docs.pages import PAGES

ROOT = Path(__file__).parents[2]
SET_UP = {
    "PLOTLY_RENDERER": "plotly_mimetype",  # the figure alone: with its script a cell would be four megabytes
    "COLUMNS": "80",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm's, where ipywidgets are not installed
}


def cells(page: str) -> list[Any]:
    """The page's prose and its blocks of Python as cells of a notebook."""
    parts = re.split(r"^```python\n(.*?)^```\n", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    made = []
    for i, part in enumerate(parts):
        text = part.strip()
        if text:
            made.append(new_code_cell(text) if i % 2 else new_markdown_cell(text))
    for i, cell in enumerate(made):
        cell.id = f"cell-{i}"  # not at random: the file changes where its content does
    return made


def make(path: Path) -> None:
    """Execute the page's blocks and write the notebook. Raises `CellExecutionError` where one fails."""
    notebook = new_notebook(cells=cells("python.md"))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder, "lob"), train=24, valid=12, seed=7)
        os.environ |= SET_UP
        nbclient.NotebookClient(
            notebook, timeout=600, coalesce_streams=True, resources={"metadata": {"path": folder}}
        ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
