"""Options of scoring that cannot work are refused before minutes of work; the command's tests score for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.errors import SearchError
from search.ship.score import score

A, B = Path("a.zip"), Path("b.zip")


@pytest.mark.parametrize(
    ("submissions", "options", "said"),
    [
        ([], {}, "name at least one submission"),
        ([A], {"csv": Path("x.csv")}, "--csv is the table of a comparison"),
        ([A, B], {"save": Path("x.score")}, "not of 2"),
    ],
)
def test_contradictions_are_refused_first(
    submissions: list[Path], options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """No file is read for that."""
    with pytest.raises(SearchError, match=said):
        score(submissions, tmp_path / "none.parquet", **options)
