"""The common style of a report's figures: colours with one meaning, light axes, readable on a telephone.

Figures are plain plotly documents (dicts), not `plotly.graph_objects`, which take long to build.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

COMPLETE, PRUNED, FAILED, REPLICATE, REPORT = "#2563a8", "#d9822b", "#b3261e", "#2f855a", "#7b4fa3"
INK, SOFT, QUIET, GRID = "#1d2733", "#5b6773", "#9aa3ad", "#eceff2"
STATE = {
    "complete": COMPLETE,
    "pruned": PRUNED,
    "failed": FAILED,
    "running": QUIET,
    "waiting": QUIET,
    "withdrawn": QUIET,
}
SERIES = (
    COMPLETE,
    PRUNED,
    REPLICATE,
    REPORT,
    "#8a6d3b",
    "#3b8ea5",
    "#a3456b",
    QUIET,
)  # where colours only separate series
BLUES = [[0, "#eff5fb"], [0.35, "#b9d2ea"], [0.7, "#5f97cb"], [1, "#1d4f8a"]]
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

LONGEST_NAME = 28  # characters of a name in a legend or on an axis

Spec = dict[str, Any]


def figure(traces: Sequence[Spec], *, height: int = 340, x: Spec | str = "", y: Spec | str = "", **layout: Any) -> Spec:
    """A plotly document: `x` and `y` are axis titles, or axes made by `axis`."""
    shown = sum(trace.get("showlegend", "name" in trace) for trace in traces)
    base: Spec = {
        "height": height,
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 12, "t": 30 if shown > 1 else 10, "b": 8},
        "legend": {"orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "font": {"size": 12}},
        "showlegend": shown > 1,
        "hovermode": "closest",
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "xaxis": _axis_of(x),
        "yaxis": _axis_of(y),
    }
    return {"data": list(traces), "layout": {**base, **layout}}


def axis(title: str = "", **more: Any) -> Spec:
    """An axis with a light grid that makes room for its own labels."""
    base: Spec = {
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": "#cfd6dc",
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "#cfd6dc",
    }
    if title:
        base["title"] = {"text": title, "standoff": 8, "font": {"size": 12, "color": SOFT}}
    return {**base, **more}


def _axis_of(given: Spec | str) -> Spec:
    """An axis from its title, or from any part of it: each makes room for its labels, or the figure would cut them."""
    if isinstance(given, str):
        return axis(given)
    title = given.get("title")
    return {**axis(), **given, **({"title": axis(title)["title"]} if isinstance(title, str) else {})}


def log_ticks(low: float, high: float) -> Spec:
    """Ticks of a logarithmic axis at 1, 2 and 5 times the powers of ten, or at those of every second power."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2.2 else (1,)
    values = [f * 10.0**e for e in exponents for f in factors if low / 1.05 <= f * 10.0**e <= high * 1.05]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def broken(label: str) -> str:
    """A label for a narrow place: long words are broken at their underscores."""
    return safe(label).replace("_", "_<br>") if len(label) > 10 else safe(label)


def points(x: Iterable[Any], y: Iterable[Any], name: str, color: str, **more: Any) -> Spec:
    """A scatter of dots."""
    marker = {"color": color, "size": 6, **more.pop("marker", {})}
    return {"type": "scatter", "mode": "markers", "name": name, "x": list(x), "y": _clean(y), "marker": marker, **more}


def line(x: Iterable[Any], y: Iterable[Any], name: str, color: str, **more: Any) -> Spec:
    """A line; None in `y` breaks it."""
    style = {"color": color, "width": 2, **more.pop("line", {})}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": _clean(y), "line": style, **more}


def band(x: Sequence[Any], low: Sequence[float], high: Sequence[float], color: str, name: str, **more: Any) -> Spec:
    """The area between two lines."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [*x, *reversed(list(x))],
        "y": _clean([*high, *reversed(list(low))]),
        "fill": "toself",
        "fillcolor": faded(color, 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
        **more,
    }


def bars(x: Iterable[Any], y: Iterable[Any], name: str, color: str, **more: Any) -> Spec:
    """Bars, upright unless `orientation="h"`."""
    return {"type": "bar", "name": name, "x": list(x), "y": list(y), "marker": {"color": color}, **more}


def rule(at: float, label: str = "", *, vertical: bool = True) -> tuple[Spec, Spec | None]:
    """A dashed line across the figure, and its label: a shape and an annotation."""
    across = {"yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at}
    if not vertical:
        across = {"xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at}
    shape = {"type": "line", **across, "line": {"color": QUIET, "width": 1, "dash": "dot"}}
    if not label:
        return shape, None
    note: Spec = {"text": safe(label), "showarrow": False, "font": {"size": 11, "color": SOFT}}
    note["bgcolor"] = "rgba(255,255,255,0.75)"
    if vertical:
        note |= {"x": at, "yref": "paper", "y": 1, "xanchor": "left", "yanchor": "top", "xshift": 4}
    else:
        note |= {"y": at, "xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom"}
    return shape, note


def with_rules(document: Spec, *rules: tuple[Spec, Spec | None]) -> Spec:
    """`document` with dashed lines drawn across it."""
    layout = document["layout"]
    layout["shapes"] = [*layout.get("shapes", []), *(shape for shape, _ in rules)]
    layout["annotations"] = [*layout.get("annotations", []), *(note for _, note in rules if note)]
    return document


def safe(text: Any) -> str:
    """Text for a figure: plotly reads some HTML in every label, and names may hold markup."""
    return escape(str(text), quote=False)


def named(text: Any) -> str:
    """A name for a legend or an axis, cut in its middle where it is longer than a narrow figure: names of machines and
    of choices often differ at their end alone."""
    words = str(text)
    half = LONGEST_NAME // 2
    return safe(words if len(words) <= LONGEST_NAME else f"{words[: half - 1]}…{words[-half:]}")


def faded(color: str, opacity: float) -> str:
    """`#rrggbb` with an opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def score(value: float | None) -> str:
    """A score as it is written everywhere: four digits."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"


def share(value: float) -> str:
    """A share as whole percent."""
    return f"{100 * value:.0f}\u00a0%"


def plural(count: int, word: str) -> str:
    """`1 trial`, `3 trials`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def lying(count: int) -> str:
    """`1 run lies`, `3 runs lie`."""
    return f"{plural(count, 'run')} {'lies' if count == 1 else 'lie'}"


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def _clean(values: Iterable[Any]) -> list[Any]:
    """Values for JSON, which has no NaN: a gap takes its place. A figure shows fewer than six digits."""
    return [_short(value) for value in values]


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
