"""The example notebook as a page of the site: its prose, its blocks of Python, and below each what it gave."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import nbformat

PLOT = "application/vnd.plotly.v1+json"
PLOTLY = "plotly.min.js"  # among the site's assets: the page needs no network
HEAD = """# In Python, with its output

The page [In Python](python.md) as a notebook, run from the top: `docs/python.ipynb` in the source.
"""


def notebook_page(path: Path) -> str:
    """The notebook as Markdown. What it says before its first block is on the other page already."""
    cells = nbformat.read(path, as_version=4).cells
    first = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    parts = [part for i, cell in enumerate(cells[first:]) for part in _cell(cell, i)]
    return "\n\n".join([HEAD, f'<script src="_static/{PLOTLY}"></script>', *parts]) + "\n"


def _cell(cell: Any, number: int) -> list[str]:
    if cell.cell_type == "markdown":
        return [cell.source]
    outputs = [_output(output, f"figure-{number}-{i}") for i, output in enumerate(cell.outputs)]
    return [f"```python\n{cell.source}\n```", *outputs]


def _output(output: Any, name: str) -> str:
    """A figure, a table, or text. Raises `KeyError` for what is none of these."""
    if output.output_type == "stream":
        return _text(output.text)
    if PLOT in output.data:
        return _figure(output.data[PLOT], name)
    if "text/html" in output.data:
        html = re.sub(r"<style.*?</style>", "", output.data["text/html"], flags=re.DOTALL)
        return f'<div class="output">{" ".join(html.split())}</div>'
    return _text(output.data["text/plain"])


def _text(text: str) -> str:
    """As HTML, in which no line may be empty: Markdown would take up again after it."""
    lines = (escape(line) or "&nbsp;" for line in text.rstrip().splitlines())
    return '<pre class="output">' + "\n".join(lines) + "</pre>"


def _figure(figure: dict[str, Any], name: str) -> str:
    """A place for the figure and the line that draws it there, fitted to the width of the page."""
    document = json.dumps({"data": figure["data"], "layout": figure["layout"] | {"autosize": True}})
    document = document.replace("</", "<\\/")
    draw = f'Plotly.newPlot("{name}", {{...{document}, config: {{responsive: true, displayModeBar: false}}}})'
    return f'<div class="output figure" id="{name}"></div>\n<script>{draw}</script>'
