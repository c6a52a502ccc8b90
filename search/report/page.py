"""The report as one HTML file that needs no network, from sections that know nothing of HTML.

Everything that is text is escaped here, in one place. A content security policy of hashes lets the file's own two
scripts run and nothing else, whatever a study's names or a worker's messages contain.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from lobmodels.table import Table
from search.report.style import Spec, score

SEQUENCES = {
    "selection": "selection sequences",
    "report": "report sequences",
    "both": "selection and report sequences",
}


@dataclass(frozen=True)
class Figure:
    """A plotly document with the sentence that says what it shows. `sequences` says where its scores come from."""

    text: str
    spec: Spec
    sequences: str | None = None  # a key of SEQUENCES; None where it shows no score
    title: str = ""
    half: bool = False  # may stand beside another


@dataclass(frozen=True)
class PageTable(Table):
    """A table of the page and of a CSV file. `shown` limits the lines on the page; the file has all."""

    text: str = ""
    shown: int = 12
    folded: bool = False
    sequences: str | None = None
    on_page: bool = True


@dataclass(frozen=True)
class Section:
    """One question and its answer: text, figures, tables. `finding` is its one sentence for the top of the page."""

    key: str
    title: str
    text: str
    figures: Sequence[Figure] = ()
    tables: Sequence[PageTable] = ()
    finding: str = ""


@dataclass(frozen=True)
class Lead:
    """The first lines of a page: a small table, what its brackets mean, and one line of advice with its command."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    remark: str
    lines: Sequence[tuple[str, str]]  # label, text
    command: str


@dataclass(frozen=True)
class Page:
    """The whole report. `facts` are short pairs (label, value) for the head of the page."""

    title: str
    question: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str
    downloads: Sequence[tuple[str, str]] = ()  # file name, what it holds
    heading: str = "What the search learned"  # above the findings
    kind: str = "report"  # in the window's title
    lead: Lead | None = None


def render(page: Page) -> str:
    """The page as HTML."""
    plotly, script, style = _plotly(), _asset("page.js"), _asset("page.css")
    policy = (
        f"default-src 'none'; script-src {_hash(plotly)} {_hash(script)}; style-src 'unsafe-inline'; img-src data: "
        "blob:; base-uri 'none'; form-action 'none'"
    )
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(page.title)} · {escape(page.kind)}</title><style>{style}</style></head><body>",
            _head(page),
            '<div class="columns">',
            _contents(page.sections),
            "<main>",
            _findings(page),
            *(_section(section) for section in page.sections),
            _downloads(page.downloads),
            f"<footer>{escape(page.footer)}</footer></main></div>",
            f"<script>{plotly}</script><script>{script}</script></body></html>\n",
        ]
    )


def _head(page: Page) -> str:
    facts = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in page.facts)
    question = f'<p class="question">{escape(page.question)}</p>' if page.question else ""
    lead = "" if page.lead is None else _lead(page.lead)
    return f"<header><h1>{escape(page.title)}</h1>{question}{lead}<dl>{facts}</dl></header>"


def _empty(cell: str) -> str:
    return ' class="none"' if cell == "-" else ""


def _lead(lead: Lead) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in lead.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(
            f'<td data-label="{escape(name)}"{_empty(cell)}>{escape(cell)}</td>'
            for name, cell in zip(names, row[1:], strict=True)
        )
        + "</tr>"
        for names, row in ((lead.columns[1:], row) for row in lead.rows)
    )
    lines = "".join(f"<p><b>{escape(label)}</b> {escape(text)}</p>" for label, text in lead.lines)
    return (
        f'<div class="lead"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="more">{escape(lead.remark)}</p>{lines}<pre>{escape(lead.command)}</pre></div>'
    )


def _contents(sections: Sequence[Section]) -> str:
    links = "".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in sections)
    return f'<nav aria-label="Contents"><details open><summary>Contents</summary><ol>{links}</ol></details></nav>'


def _findings(page: Page) -> str:
    found = [section for section in page.sections if section.finding]
    if not found:
        return ""
    items = "".join(
        f'<li>{escape(section.finding)} <a href="#{section.key}" aria-label="{escape(section.title)}">↓</a></li>'
        for section in found
    )
    return f'<section class="findings"><h2>{escape(page.heading)}</h2><ul>{items}</ul></section>'


def _section(section: Section) -> str:
    figures = "".join(_figure(section.key, i, figure) for i, figure in enumerate(section.figures))
    grid = f'<div class="figures">{figures}</div>' if figures else ""
    tables = "".join(_table(table) for table in section.tables if table.on_page)
    text = "".join(_paragraph(part) for part in section.text.split("\n") if part)
    return f'<section id="{section.key}"><h2>{escape(section.title)}</h2>{text}{grid}{tables}</section>'


def _paragraph(text: str) -> str:
    """A line of text, or a command to copy."""
    return f"<pre>{escape(text)}</pre>" if text.startswith("lobtuna ") else f"<p>{escape(text)}</p>"


def _figure(key: str, number: int, figure: Figure) -> str:
    height = figure.spec["layout"]["height"]
    title = f"<h3>{escape(figure.title)}</h3>" if figure.title else ""
    return (
        f'<figure class="{"half" if figure.half else "full"}">{title}'
        f'<div class="plot" id="{key}-{number}" style="height:{height}px" role="img" '
        f'aria-label="{escape(figure.text)}"></div>'
        f'<script type="application/json">{_json(figure.spec)}</script>'
        f"<figcaption>{escape(figure.text)} {_origin(figure.sequences)}</figcaption></figure>"
    )


def _origin(sequences: str | None) -> str:
    if sequences is None:
        return ""
    return f'<span class="origin {sequences}">scores: {SEQUENCES[sequences]}</span>'


def _table(table: PageTable) -> str:
    if not table.rows:
        return ""
    shown = table.rows[: table.shown]
    used = [i for i in range(len(table.columns)) if any(row[i] is not None for row in shown)]
    kinds = {i: ' class="n"' if all(_is_number(row[i]) or row[i] is None for row in shown) else "" for i in used}
    head = "".join(f"<th{kinds[i]}>{escape(str(table.columns[i]))}</th>" for i in used)
    body = "".join("<tr>" + "".join(f"<td{kinds[i]}>{_shown(row[i])}</td>" for i in used) + "</tr>" for row in shown)
    more = len(table.rows) - table.shown
    rest = f'<p class="more">{more:,} more in {escape(table.name)}.csv</p>' if more > 0 else ""
    caption = f'<p class="caption">{escape(table.text)} {_origin(table.sequences)}</p>' if table.text else ""
    label = escape(table.text or table.name)
    region = f'<div class="wide" tabindex="0" role="region" aria-label="{label}">'  # keys scroll it, too
    inner = f"{region}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    if table.folded:
        return f"<details><summary>{label} {_origin(table.sequences)}</summary>{inner}</details>"
    return caption + inner


def _downloads(downloads: Sequence[tuple[str, str]]) -> str:
    if not downloads:
        return ""
    items = "".join(
        f'<li><a href="{escape(name)}">{escape(name)}</a> <span>{escape(what)}</span></li>' for name, what in downloads
    )
    return (
        f'<section id="files"><h2>Files</h2><p>Beside this page, unrounded:</p><ul class="files">{items}</ul></section>'
    )


def _shown(value: Any) -> str:
    """A value as a cell shows it."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return '<span class="none">-</span>'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        magnitude = abs(value)
        if value == int(value) and magnitude < 1e6:
            return f"{int(value):,}"
        return score(value) if 0.1 <= magnitude < 1 else f"{value:,.3g}" if magnitude < 1000 else f"{value:,.0f}"
    return escape(str(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _json(document: Spec) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return files("search.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
