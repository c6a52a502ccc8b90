"""Generated files never replace one that a person changed."""

from pathlib import Path

import pytest

from search.errors import SearchError
from search.launch import write


def test_nothing_a_person_changed_is_overwritten(tmp_path: Path) -> None:
    """Written again, equal files are fine; a changed one is an error that names it."""
    files = {tmp_path / "a.yaml": "a: 1\n"}
    write(files)
    write(files)
    (tmp_path / "a.yaml").write_text("a: 2\n")
    with pytest.raises(SearchError, match=r"a\.yaml is there already"):
        write(files)
