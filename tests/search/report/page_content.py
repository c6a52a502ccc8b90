"""What is in a page: its tags, and the figures of its report."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from search.report import Report


class _Tags(HTMLParser):
    """Collects the tags of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """Every tag of `html` with its attributes, in order."""
    parser = _Tags()
    parser.feed(html)
    return parser.tags


def figures(report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sentence and the document of every figure."""
    for section in report.page.sections:
        for figure in section.figures:
            yield figure.text, figure.spec
