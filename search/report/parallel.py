"""Whole configurations at a glance: each run is a line through the values of all its searched parameters.

Parameters are rows, not columns, so that the figure can be read on a telephone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from search.report.factors import position, usable
from search.report.page import Figure, Section
from search.report.record import Study, Trial
from search.report.style import COMPLETE, QUIET, SOFT, Spec, axis, faded, figure, line, named, plural, safe, score
from search.studyfile.parameters import Choices, FloatRange, IntRange, Parameter
from search.studyfile.values import show

LEAST = 5  # finished runs
MOST = 150  # lines beside the best
TOP = 0.1  # share of the finished runs that is drawn dark
BESIDE = -0.09  # where the `or` values of a range lie, left of it
SCORE = "score"


def section(study: Study) -> Section:
    """The finished runs as lines, the best tenth dark."""
    title = "All parameters at once"
    runs = sorted(study.finished, key=lambda t: -(t.value or 0.0))
    varied = [name for name in study.searched if len({repr(t.configuration.get(name)) for t in runs}) > 1]
    # Those that mean nothing in some runs come last, or every line would be broken in the middle.
    names = sorted(varied, key=lambda name: any(t.configuration.get(name) is None for t in runs))
    if len(runs) < LEAST or not names:
        return Section("parallel", title, f"{plural(len(runs), 'finished run')}: too few lines to compare.")
    count = max(3, round(TOP * len(runs)))
    best, others = runs[:count], _spread(runs[count:])
    left_out = len(runs) > count + len(others)
    drawn = f" Drawn are {len(others)} of the others, chosen evenly by score." if left_out else ""
    text = (
        "Each line is a finished run; where it crosses a row is its value there. Dark: the best "
        f"{count} of {len(runs)}.{drawn} Where dark lines meet, the best runs agree. A line has a gap where a "
        "parameter means nothing."
    )
    return Section("parallel", title, "", [Figure(text, _lines(study, names, best, others), "selection")])


def _spread(runs: Sequence[Trial]) -> list[Trial]:
    if len(runs) <= MOST:
        return list(runs)
    return [runs[int(i)] for i in np.linspace(0, len(runs) - 1, MOST)]


def _lines(study: Study, names: Sequence[str], best: Sequence[Trial], others: Sequence[Trial]) -> Spec:
    runs = [*best, *others]
    parameters = {name: study.searched[name] for name in names}
    marks = {name: _marks(parameter) for name, parameter in parameters.items()}
    values = np.array([t.value or 0.0 for t in runs])
    low, high = float(values.min()), float(values.max())
    rows = [SCORE, *names]
    traces = []
    for label, chosen, color, width in (
        ("other finished runs", others, faded(QUIET, 0.3), 1),
        ("best tenth", best, faded(COMPLETE, 0.75), 1.6),
    ):
        x: list[Any] = []
        y: list[Any] = []
        for trial in chosen:
            at = [place(parameters[name], trial.configuration.get(name)) for name in names]
            x += [((trial.value or 0.0) - low) / ((high - low) or 1.0), *at, None]
            y += [*range(len(rows)), None]
        gaps = [None if a is None else b for a, b in zip(x, y, strict=True)]
        traces.append(line(x, gaps, label, color, line={"width": width}, hoverinfo="skip"))
    marks[SCORE] = [(0.0, score(low)), (1.0, score(high))]
    spec = figure(
        traces,
        height=90 + 46 * len(rows),
        x=axis("", range=[BESIDE * 1.9, 1.09], showticklabels=False, showgrid=False, ticks=""),
        y=axis(
            "", tickvals=list(range(len(rows))), ticktext=[safe(name) for name in rows], range=[len(rows) - 0.4, -0.6]
        ),
    )
    spec["layout"]["annotations"] = [_annotation(i, x, text) for i, name in enumerate(rows) for x, text in marks[name]]
    return spec


def place(parameter: Parameter, value: Any) -> float | None:
    """Where a value lies on its row: 0 to 1 for choices in their order and for a range, left of it for `or` values;
    None where the parameter means nothing, or holds what it cannot."""
    if usable(parameter, value) is None:
        return None
    if isinstance(parameter, Choices):
        options = parameter.choices
        return None if value not in options else options.index(value) / max(len(options) - 1, 1)
    assert isinstance(parameter, (IntRange, FloatRange))
    return BESIDE if value in parameter.extra else position(parameter, value)


def _marks(parameter: Parameter) -> list[tuple[float, str]]:
    """Position and text of the values that are written below a row."""
    if isinstance(parameter, Choices):
        count = max(len(parameter.choices) - 1, 1)
        return [(i / count, named(show(value))) for i, value in enumerate(parameter.choices)]
    assert isinstance(parameter, (IntRange, FloatRange))
    low, high = parameter.bounds
    extra = [(BESIDE, show(value)) for value in parameter.extra[:1]]
    return [*extra, (0.0, show(low)), (1.0, show(high))]


def _annotation(row: int, x: float, text: str) -> Spec:
    return {
        "x": x,
        "y": row,
        "text": text.replace("_", "_<br>") if len(text) > 9 else text,
        "showarrow": False,
        "yanchor": "top",
        "yshift": -3,
        "font": {"size": 10, "color": SOFT},
        "bgcolor": "rgba(255,255,255,0.7)",
    }
