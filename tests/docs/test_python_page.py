"""The page on Python: every block runs, in order, and says what the page says."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

import lobtuna
from lobmodels.data.synthetic import write_dataset
from tests.docs.pages import PAGES


def python_blocks(page: str) -> list[str]:
    """The blocks of Python of a page, as they stand."""
    return re.findall(r"^```python\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that are there once all blocks were run, in a folder that holds the page's data."""
    folder = tmp_path_factory.mktemp("python")
    write_dataset(folder / "lob", train=24, valid=12, seed=7)
    names: dict[str, Any] = {"__name__": "page"}
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        # `verify` in both steps takes half a minute: tests/lobmodels/scoring/test_verify.py runs both
        patch.setattr("lobmodels.scoring.verify.BACKENDS", {"numpy": ("numba",)})
        for block in python_blocks("python.md"):
            exec(compile(block, "docs/python.md", "exec"), names)
    return names


def test_the_page_does_what_it_says(after: dict[str, Any]) -> None:
    """Three trials, two repeated configurations, a submission of four members, all checks passed."""
    runs = after["study"].runs()
    assert len(runs) == 5 and sum(run.stored.study == "tiny.seeds" for run in runs) == 2
    assert [member["name"] for member in after["submission"].members]
    assert len(after["submission"].members) == 4
    assert after["checked"].ok


def test_a_loaded_run_predicts_what_the_submission_was_made_of(after: dict[str, Any]) -> None:
    """The uniform average of the members is what the zip's runtime computes, to 1e-5."""
    x, bundle = after["x"], after["exported"].shipments[0].bundle
    expected = bundle.predict(x[:1])[0]
    assert abs(after["submission"].predict(x[0]) - expected).max() < 1e-5


def test_every_public_name_is_on_the_page() -> None:
    """A name without an example or a line on the page is not public."""
    missing = [name for name in lobtuna.__all__ if not re.search(rf"`[^`]*\b{name}\b[^`]*`", PAGES["python.md"])]
    assert missing == []


def test_the_notebook_is_this_page() -> None:
    """The committed notebook has the page's blocks, each executed without an error, and no path of the machine."""
    import nbformat

    notebook = nbformat.read(Path(__file__).parents[2] / "docs" / "python.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source.strip() for cell in cells] == [block.strip() for block in python_blocks("python.md")]
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(cell.execution_count for cell in cells) and not [o for o in outputs if o.output_type == "error"]
    assert "/home/" not in str(notebook) and "/tmp/" not in str(notebook)
    assert "\\u001b" not in nbformat.writes(notebook)  # progress as lines: a notebook cannot redraw a terminal
