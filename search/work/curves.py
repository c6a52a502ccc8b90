"""A run's history as a picture and a table, small enough to be kept with every trial of a study.

The picture is an SVG written by hand: a few kilobytes, no plotting library in a worker, sharp at any size.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Record = Mapping[str, Any]

WIDTH, HEIGHT = 640, 420
LEFT, RIGHT, TOP = 62, 74, 44
SCORES_BOTTOM, LOSS_TOP, LOSS_BOTTOM = 270, 306, 380
MOST_SEGMENTS = 400  # points a line is thinned to; more than pixels tell apart
SCORES = (("mean", "#1f5f99", 2.4), ("t0", "#6ea3cf", 1.3), ("t1", "#b08430", 1.3))
LOSS = ("loss", "#6b7280", 1.6)
INK, FAINT = "#374151", "#e5e7eb"


@dataclass(frozen=True)
class _Panel:
    """A rectangle of the picture and the values its borders stand for."""

    epochs: tuple[int, int]
    low: float
    high: float
    top: float
    bottom: float

    def x(self, epoch: float) -> float:
        first, last = self.epochs
        return LEFT + (WIDTH - LEFT - RIGHT) * (epoch - first) / max(last - first, 1)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * (value - self.low) / (self.high - self.low)


def history_csv(history: Sequence[Record]) -> bytes:
    """The history as CSV, one line an epoch, columns as the records name them."""
    columns = list(dict.fromkeys(name for record in history for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return out.getvalue().encode()


def learning_curve_svg(history: Sequence[Record], title: str, subtitle: str = "") -> bytes:
    """Scores of the selection sequences above, training loss below, over epochs; the best epoch is marked.

    Records hold `epoch` (from 0) and any of `mean`, `t0`, `t1`, `loss`; a value that is missing or not finite leaves
    a gap. An empty history gives a picture that says so.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif" '
        f'font-size="12" fill="{INK}"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 20, title, size=14, weight="600"),
        _text(LEFT, 36, subtitle, fill="#6b7280"),
    ]
    scores = [name for name, *_ in SCORES]
    if not _finite(history, scores):
        parts.append(_text(WIDTH / 2, HEIGHT / 2, "no epoch was finished", anchor="middle"))
        return ("".join(parts) + "</svg>").encode()
    epochs = (min(r["epoch"] for r in history), max(r["epoch"] for r in history))
    above = _panel(_finite(history, scores), epochs, TOP, SCORES_BOTTOM)
    parts += [_axes(above, "score"), *_lines(above, history, SCORES), _best(above, history)]
    losses = _finite(history, ["loss"])
    below = _panel(losses or [0.0], epochs, LOSS_TOP, LOSS_BOTTOM)
    parts += [_axes(below, "loss", few=True), *_lines(below, history, (LOSS,)), _epoch_axis(below)]
    return ("".join(parts) + "</svg>").encode()


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from `low` to `high`, both of which may lie outside."""
    if high <= low:
        return [low]
    raw = (high - low) / max(count, 1)
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(f * magnitude for f in (1, 2, 2.5, 5, 10) if f * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _panel(values: list[float], epochs: tuple[int, int], top: float, bottom: float) -> _Panel:
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 0.01
    return _Panel(epochs, low - margin, high + margin, top, bottom)


def _finite(history: Sequence[Record], names: Sequence[str]) -> list[float]:
    return [v for r in history for name in names if (v := _number(r.get(name))) is not None]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _axes(panel: _Panel, label: str, few: bool = False) -> str:
    lines = []
    for value in ticks(panel.low, panel.high, 2 if few else 5):
        y = panel.y(value)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>'
            + _text(LEFT - 8, y + 4, f"{value:g}", anchor="end")
        )
    middle = (panel.top + panel.bottom) / 2
    lines.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(label)}</text>'
    )
    return "".join(lines)


def _epoch_axis(panel: _Panel) -> str:
    first, last = panel.epochs
    marks = [value for value in ticks(first, last, 8) if value == int(value)]
    labels = "".join(_text(panel.x(value), panel.bottom + 18, f"{int(value)}", anchor="middle") for value in marks)
    return labels + _text((LEFT + WIDTH - RIGHT) / 2, panel.bottom + 34, "epoch (from 0)", anchor="middle")


def _lines(panel: _Panel, history: Sequence[Record], styles: Sequence[tuple[str, str, float]]) -> list[str]:
    drawn: list[str] = []
    labels: list[list[Any]] = []
    for name, color, width in styles:
        points = [(r["epoch"], _number(r.get(name))) for r in history]
        known = [(epoch, value) for epoch, value in points if value is not None]
        if not known:
            continue
        path = _path(panel, points)
        drawn.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>')
        if len(known) == 1:
            drawn.append(_dot(panel.x(known[0][0]), panel.y(known[0][1]), color, 2.5))
        labels.append([panel.y(known[-1][1]) + 4, name, color])
    _spread(labels, 13)
    return drawn + [_text(WIDTH - RIGHT + 8, y, name, fill=color, weight="600") for y, name, color in labels]


def _path(panel: _Panel, points: list[tuple[int, float | None]]) -> str:
    every = max(1, len(points) // MOST_SEGMENTS)
    kept = [p for i, p in enumerate(points) if i % every == 0 or i == len(points) - 1]
    words, pen = [], "M"
    for epoch, value in kept:
        if value is None:
            pen = "M"
            continue
        words.append(f"{pen}{panel.x(epoch):.1f} {panel.y(value):.1f}")
        pen = "L"
    return "".join(words)


def _spread(labels: list[list[Any]], gap: float) -> None:
    """Move labels (y first) apart, in place, so that none covers another."""
    labels.sort(key=lambda item: item[0])
    for above, below in itertools.pairwise(labels):
        below[0] = max(below[0], above[0] + gap)


def _best(panel: _Panel, history: Sequence[Record]) -> str:
    known = [(value, r["epoch"]) for r in history if (value := _number(r.get("mean"))) is not None]
    if not known:
        return ""
    value, epoch = max(known, key=lambda pair: (pair[0], -pair[1]))
    x, y = panel.x(epoch), panel.y(value)
    left = x > (LEFT + WIDTH - RIGHT) / 2
    label = _text(x + (-8 if left else 8), y - 8, f"{value:.4f} in epoch {epoch}", anchor="end" if left else "start")
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{panel.top}" y2="{panel.bottom}" stroke="#9ca3af" '
        f'stroke-dasharray="3 3"/>' + _dot(x, y, SCORES[0][1], 4) + label
    )


def _dot(x: float, y: float, color: str, radius: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}"/>'


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, fill: str = INK, weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{fill}">{escape(words)}</text>'
    )
