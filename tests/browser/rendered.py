"""What a figure really shows in the browser: the text of its axes and legend, and where it lies."""

from __future__ import annotations

import time
from html import unescape
from typing import Any

from tests.browser.conftest import Visit

READ = """() => [...document.querySelectorAll('.plot')].map(plot => {
    const box = plot.getBoundingClientRect();
    const texts = kind => [...plot.querySelectorAll(kind)].map(t => t.textContent);
    const parts = '.legend, .xtick text, .ytick text, .xtitle, .ytitle, .legendtext, .annotation-text';
    const outside = [...plot.querySelectorAll(parts)].filter(part => {
        const b = part.getBoundingClientRect();
        const over = Math.max(box.left - b.left, b.right - box.right, box.top - b.top, b.bottom - box.bottom);
        return b.width > 0 && over > 1;
    }).map(part => part.textContent.slice(0, 60));
    const given = JSON.parse(plot.nextElementSibling.textContent);
    return {id: plot.id, x: texts('.xtick text'), y: texts('.ytick text'), titles: texts('.xtitle, .ytitle'),
            legend: texts('.legendtext'), outside, layout: given.layout, data: given.data};
})"""


def read_figures(found: Visit) -> list[dict[str, Any]]:
    """Every figure of an open page that was scrolled through: `x` and `y` are the labels of its axes as they stand
    there, `outside` are the texts that do not lie within the figure, `layout` and `data` are what was asked for."""
    figures: list[dict[str, Any]] = found.page.evaluate(READ)
    end = time.monotonic() + 120.0
    while time.monotonic() < end:  # a figure makes room for its labels once it has seen how wide they are
        found.page.wait_for_timeout(100)
        before, figures = figures, found.page.evaluate(READ)
        if figures == before:
            break
    return figures


def check_axes(figures: list[dict[str, Any]]) -> None:
    """Nothing of an axis or a legend lies outside its figure; every label, title and name that was asked for is there,
    and the numbers of an axis are those of its range."""
    for figure in figures:
        assert figure["outside"] == [], figure["id"]
        titles = [figure["layout"][axis].get("title", {}).get("text") for axis in ("xaxis", "yaxis")]
        assert figure["titles"] == [title for title in titles if title], figure["id"]
        for side in "xy":
            _check_labels(figure, side)


def _check_labels(figure: dict[str, Any], side: str) -> None:
    axis, shown = figure["layout"][f"{side}axis"], figure[side]
    if "ticktext" in axis:
        wanted = [unescape(label.replace("<br>", "")) for label in axis["ticktext"]]
        inside = [label for label in wanted if label in shown]
        assert shown == inside and len(shown) >= 1, (figure["id"], shown, wanted)
    elif axis.get("showticklabels", True):
        assert len(shown) >= 2 or axis.get("type") == "category", (figure["id"], side, shown)
        numbers = [_number(label) for label in shown]
        if None not in numbers and axis.get("autorange") != "reversed" and axis.get("type") != "date":
            assert numbers == sorted(numbers), (figure["id"], shown)  # type: ignore[type-var]


def _number(label: str) -> float | None:
    try:
        return float(label.replace("\u2212", "-").replace(",", "").replace("%", "").replace("k", "e3"))
    except ValueError:
        return None
