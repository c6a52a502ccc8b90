"""A profile as one HTML file that opens without a network, and the CSV files beside it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lobmodels.errors import DataError
from lobmodels.profile.findings import findings
from lobmodels.profile.sections import Section, sections
from lobmodels.profile.tabulation import Table, tables

if TYPE_CHECKING:
    from lobmodels.profile.measure import Profile

PAGE = "profile.html"

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1d2733; background: #fff;
  margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .3rem; }
p, li { max-width: 46rem; }
.path, .quiet { color: #5b6773; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .7rem .22rem 0; text-align: right; border-bottom: 1px solid #e6eaee; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: #47525e; }
summary { cursor: pointer; color: #2563a8; margin: .6rem 0; }
nav { font-size: .9rem; columns: 2 14rem; margin: 1rem 0; }
nav a, .files a { color: #2563a8; }
nav a { display: block; }
"""


def write_profile(profile: Profile, folder: Path) -> list[Path]:
    """Write the page and the CSV files of `profile` into `folder`; the paths written, the page first.

    Raises `DataError` where the folder cannot be written.
    """
    found = tables(profile)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / PAGE, *(folder / f"{name}.csv" for name in found)]
        for path, table in zip(paths[1:], found.values(), strict=True):
            temporary = path.with_name(f".{path.name}.tmp")
            table.write(temporary)
            temporary.replace(path)
        temporary = folder / f".{PAGE}.tmp"
        temporary.write_text(render(profile, [path.name for path in paths[1:]]), encoding="utf-8")
        temporary.replace(paths[0])
    except OSError as error:
        raise DataError(f"{folder}: the profile cannot be written there ({error.strerror})") from error
    return paths


def render(profile: Profile, files: list[str]) -> str:
    """The page as HTML; `files` are named at its end."""
    parts = list(sections(profile))
    body = [
        "<h1>Data profile</h1>",
        f'<p class="path">{escape(str(profile.train.path.parent))} · content {escape(profile.fingerprint)}</p>',
        "<h2>What stands out</h2>",
        "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(profile)) + "</ul>",
        "<nav>" + "".join(f'<a href="#s{i}">{escape(part.title)}</a>' for i, part in enumerate(parts)) + "</nav>",
        *(_section(part, i) for i, part in enumerate(parts)),
        '<h2>Files</h2><p class="files">Every number of this page, unrounded: '
        + ", ".join(f'<a href="{escape(name)}">{escape(name)}</a>' for name in files)
        + "</p>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Data profile</title><style>{STYLE}</style>{_plotly()}</head><body>{''.join(body)}</body></html>\n"
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def _section(section: Section, number: int) -> str:
    parts = [f'<h2 id="s{number}">{escape(section.title)}</h2><p>{escape(section.text)}</p>']
    if section.figure is not None:
        parts.append(
            section.figure.to_html(
                full_html=False,
                include_plotlyjs=False,
                div_id=f"figure{number}",
                default_width="100%",
                config={"displaylogo": False, "responsive": True, "displayModeBar": False},
            )
        )
    if section.table is not None:
        table = f'<div class="wide">{_table(section.table)}</div>'
        parts.append(
            f"<details><summary>{escape(section.folded)}</summary>{table}</details>" if section.folded else table
        )
    return "".join(parts)


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = ("".join(f"<td>{escape(_shown(value))}</td>" for value in row) for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
