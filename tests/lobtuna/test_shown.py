"""Every object of the face shows itself."""

from __future__ import annotations

from lobtuna.shown import Shown
from lobtuna.table import Table


class Thing(Shown):
    @property
    def summary(self) -> str:
        return "one <thing>"

    def table(self) -> Table:
        return Table("t", ("a",), [(1,)])


def test_a_line_and_a_table() -> None:
    """In a notebook both, in a terminal the line; markup in names is text."""
    assert repr(Thing()) == "<Thing: one <thing>>"
    html = Thing()._repr_html_()
    assert "one &lt;thing&gt;" in html and "<td" in html
