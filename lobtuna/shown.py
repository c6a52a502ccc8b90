"""How results look in a notebook and in a terminal: a line that says what they are, and a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from html import escape

from lobtuna.table import Table


class Shown(ABC):
    """An object that shows itself: `summary` is its one line, `table` its rows."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """What this is, in one line."""

    @abstractmethod
    def table(self) -> Table:
        """Its rows as plain values, with `.arrow()`, `.pandas()` and `.polars()`."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary}>"

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.summary)}</b></p>{self.table()._repr_html_()}"
