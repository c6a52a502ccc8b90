"""The parts of figures: valid for plotly and JSON whatever the values, text of strangers as text."""

from __future__ import annotations

import json
import math

import plotly.graph_objects as go
import pytest

from search.report import style


def test_what_is_made_is_plotly() -> None:
    """Every kind of trace, with gaps, rules and a log axis, is a document plotly accepts and JSON without NaN."""
    traces = [
        style.points([1, 2], [0.5, math.nan], "dots", style.COMPLETE),
        style.line([1, 2], [math.inf, 0.123456789], "line", style.PRUNED),
        style.band([1, 2], [0.0, 0.1], [0.2, 0.3], style.REPORT, "band"),
        style.bars([1, 2], [3, 4], "bars", style.FAILED),
    ]
    drawn = style.figure(traces, x=style.axis("x", type="log", **style.log_ticks(1e-3, 1e-2)), y="score")
    style.with_rules(drawn, style.rule(1.5, "<b>here"), style.rule(0.2, vertical=False))
    go.Figure(drawn)
    json.dumps(drawn, allow_nan=False)
    assert traces[0]["y"] == [0.5, None] and traces[1]["y"] == [None, 0.123457]
    assert drawn["layout"]["annotations"][0]["text"] == "&lt;b&gt;here" and len(drawn["layout"]["shapes"]) == 2


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [(1e-3, 1e-2, ["0.001", "0.002", "0.005", "0.01"]), (1e-6, 1e-3, ["1e-06", "1e-05", "0.0001", "0.001"])],
)
def test_log_ticks(low: float, high: float, labels: list[str]) -> None:
    """1, 2 and 5 of each power of ten over two of them, the powers alone over more."""
    assert style.log_ticks(low, high)["ticktext"] == labels


def test_words() -> None:
    """Numbers and lists as sentences have them."""
    assert [style.plural(n, "run") for n in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]
    assert [style.listed(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert (style.score(0.12345), style.score(None), style.score(math.nan)) == ("0.1235", "-", "-")
    assert style.share(0.25) == "25\u00a0%"
    assert style.faded("#102030", 0.5) == "rgba(16,32,48,0.5)"
    assert style.broken("weight_decay_long") == "weight_<br>decay_<br>long" and style.broken("lr") == "lr"


@pytest.mark.parametrize("given", ["score", {"title": "score", "range": [0, 1]}, {"title": {"text": "score"}}])
def test_every_axis_makes_room_for_its_labels(given: str | dict) -> None:
    """However an axis is given, by title or in part: without that plotly cuts its labels at the figure's edge."""
    layout = style.figure([], x=given, y=given)["layout"]
    for axis in (layout["xaxis"], layout["yaxis"]):
        assert axis["automargin"] is True and axis["title"]["text"] == "score"
        assert axis.get("range") == (given.get("range") if isinstance(given, dict) else None)
