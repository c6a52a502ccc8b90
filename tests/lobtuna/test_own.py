"""A file of the user's that is called like one of lobtuna's packages is named in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` as a notebook would: its own folder is searched before lobtuna's."""
    paths = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]; "
    return subprocess.run([sys.executable, "-c", paths + code], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("search.py", "import lobtuna"),
        ("storage.py", "import lobtuna"),
        ("lobmodels/__init__.py", "import lobtuna"),
        ("search.py", "import search; import lobtuna"),  # loaded before
    ],
)
def test_what_is_in_the_way_is_named(tmp_path: Path, file: str, code: str) -> None:
    """One line with the file and what to do; lobtuna's own import error, not a missing attribute later."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine = 1")
    done = imported(tmp_path, code)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ImportError: lobtuna has a package") and file in last
    assert "rename" in last


def test_a_folder_of_data_with_that_name_is_no_package(tmp_path: Path) -> None:
    """A folder `search` without Python files hides nothing."""
    (tmp_path / "search").mkdir()
    assert imported(tmp_path, "import lobtuna; lobtuna.open").returncode == 0


def test_nothing_heavy_is_imported_to_read_studies(tmp_path: Path, searched: str) -> None:
    """Listing, tables, best and rank need no torch, and the import alone neither Optuna nor numpy."""
    heavy = "assert not {'torch', 'optuna', 'numpy', 'pandas', 'plotly'} & set(sys.modules), sys.modules.keys(); "
    reading = (
        f"db = lobtuna.open({searched!r}); db.table().arrow(); study = db['joint']; study.runs().arrow(); "
        "study.best(); lobtuna.rank(study).table(); assert 'torch' not in sys.modules"
    )
    done = imported(tmp_path, f"import lobtuna; {heavy}{reading}")
    assert done.returncode == 0, done.stderr
