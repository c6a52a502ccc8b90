"""A table of plain values that becomes an Arrow table, a frame of pandas or polars, or a notebook's own table."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from lobmodels.table import Table as PlainTable

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

SHOWN = 30  # lines in a notebook


@dataclass(frozen=True, repr=False)
class Table(PlainTable):
    """Rows under named columns: `lobtuna.Table("scores", ("run", "score"), [("joint#3", 0.36)])`."""

    def arrow(self) -> pyarrow.Table:
        """The table in Arrow's memory; a value that is missing is null."""
        import pyarrow as pa

        return pa.table({name: pa.array([row[i] for row in self.rows]) for i, name in enumerate(self.columns)})

    def pandas(self) -> pandas.DataFrame:
        """The table as a pandas frame. Raises `ImportError` where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise ImportError(_not_installed("pandas")) from None
        return pandas.DataFrame(list(self.rows), columns=list(self.columns))

    def polars(self) -> polars.DataFrame:
        """The table as a polars frame. Raises `ImportError` where polars is not installed."""
        try:
            import polars
        except ImportError:
            raise ImportError(_not_installed("polars")) from None
        return polars.from_arrow(self.arrow())

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Table {self.name}: {len(self)} rows of {', '.join(map(str, self.columns))}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(str(name))}</th>" for name in self.columns)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in self.rows[:SHOWN])
        hidden = len(self.rows) - SHOWN
        more = f"<p>{hidden:,} more lines: <code>.arrow()</code> holds all</p>" if hidden > 0 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def shown(value: Any) -> str:
    """A value as a person reads it: four significant digits, `-` for nothing."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 else f"{value:.4g}"
    return str(value)


def _cell(value: Any) -> str:
    side = "right" if isinstance(value, (int, float)) and not isinstance(value, bool) else "left"
    return f'<td style="text-align:{side}">{escape(shown(value))}</td>'


def _not_installed(name: str) -> str:
    return f"{name} is not installed: pip install {name}, or use .arrow(), which needs nothing more"
