"""Tables of results become Arrow tables and frames, and show themselves safely."""

from __future__ import annotations

import sys

import pytest

from lobtuna.table import SHOWN, Table, shown

TABLE = Table("t", ("run", "score", "n"), [("a#1", 0.25, 1), ("<b>", None, 2)])


def test_arrow_and_pandas_hold_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are those of the values; what is missing is null."""
    arrow = TABLE.arrow()
    assert arrow.column_names == ["run", "score", "n"] and str(arrow.schema.field("score").type) == "double"
    assert arrow.to_pylist()[1] == {"run": "<b>", "score": None, "n": 2}
    assert TABLE.pandas()["n"].tolist() == [1, 2]
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
        with pytest.raises(ImportError, match=f"{name} is not installed: pip install {name}, or use .arrow"):
            getattr(TABLE, name)()


def test_html_is_escaped_and_cut() -> None:
    """Names are data, not markup; a long table says how many lines it does not show."""
    assert "&lt;b&gt;" in TABLE._repr_html_() and "<b>" not in TABLE._repr_html_()
    assert "5 more lines" in Table("t", ("i",), [(i,) for i in range(SHOWN + 5)])._repr_html_()


def test_numbers_are_short() -> None:
    """Four digits, and a dash for nothing."""
    assert [shown(v) for v in (0.123456, 1e-7, None, 3, True)] == ["0.1235", "1e-07", "-", "3", "True"]


def test_the_terminal_shows_what_it_is() -> None:
    """Rows and columns, not all values."""
    assert repr(TABLE) == "<Table t: 2 rows of run, score, n>"
