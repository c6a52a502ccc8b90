"""The best score so far, over trials and over the hours they took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from search.report.page import Figure, PageTable, Section
from search.report.record import Study, Trial, hours
from search.report.style import (
    COMPLETE,
    FAILED,
    PRUNED,
    REPORT,
    Spec,
    axis,
    faded,
    figure,
    line,
    lying,
    plural,
    points,
    safe,
    score,
    share,
)


def section(study: Study) -> Section:
    """Best score so far over ended trials and over hours, every run behind it."""
    ended = in_order(study)
    if not study.finished:
        return Section("progress", "Progress", "No trial is complete yet, so there is no best score to follow.")
    spent = np.cumsum([0.0 if t.imported else t.seconds / 3600 for t in ended])
    best = study.best
    assert best is not None
    place = next(i for i, t in enumerate(ended) if t.number == best.number)
    low, hidden = _bottom(study)
    below = f" {lying(hidden)} below the picture." if hidden else ""
    figures = [
        Figure(
            "Each dot is a run that ended; the line is the best finished run so far." + below + _dotted(study),
            trials_figure(study, low),
            "both" if _has_report(study) else "selection",
            title="Over trials",
            half=True,
        ),
        Figure(
            f"The same line over {study.time_unit}, summed over all workers; the dashed line is what that run scored "
            "on sequences no decision has seen."
            if _has_report(study)
            else f"The same line over {study.time_unit}, summed over all workers.",
            _over_hours(study, ended, spent, low),
            "both" if _has_report(study) else "selection",
            title=f"Over {study.time_unit}",
            half=True,
        ),
    ]
    tables = [_improvements(study, ended, spent)]
    return Section("progress", "Progress", _text(study, ended), figures, tables, _finding(study, ended, spent, place))


def in_order(study: Study) -> list[Trial]:
    """Trials that ended, in the order in which they did; imported ones first."""
    ended = study.of("complete", "pruned", "failed")
    return sorted(ended, key=lambda t: (t.imported is None, t.end or datetime.min, t.number))


def best_after(ended: Sequence[Trial], count: int) -> float:
    """The best score of a finished run among the first `count` that ended; minus infinity where none had finished."""
    return max((t.value for t in ended[:count] if t.state == "complete" and t.value is not None), default=-math.inf)


def trials_figure(study: Study, low: float | None = None, most: int | None = None) -> Spec:
    """Runs, at most so many of each kind, and the best so far over ended trials; also a plot of the dashboard."""
    ended = in_order(study)
    place = {t.number: i + 1 for i, t in enumerate(ended)}
    if low is None:
        low, _ = _bottom(study)
    traces = []
    kinds = (("pruned", PRUNED, "circle-open", 5), ("complete", COMPLETE, "circle", 6))
    for state, color, symbol, size in kinds:
        chosen = [t for t in ended if t.state == state and t.value is not None and t.value >= low]
        chosen = chosen[:: max(1, -(-len(chosen) // most))] if most else chosen
        marker = {"size": size, "symbol": symbol, "color": faded(color, 0.55)}
        dots = points([place[t.number] for t in chosen], [t.value for t in chosen], state, color, marker=marker)
        traces.append(dots if most else {**dots, **_hovered(chosen)})
    failed = [t for t in ended if t.state == "failed"]
    if failed:
        marker = {"size": 6, "symbol": "x-thin", "line": {"width": 1.3, "color": FAILED}}
        dots = points([place[t.number] for t in failed], [low] * len(failed), "failed", FAILED, marker=marker)
        traces.append(dots if most else {**dots, **_hovered(failed)})
    x, y, _ = _steps(study, ended)
    traces.append(line([i + 1 for i in x], y, "best so far", COMPLETE, line={"shape": "hv"}))
    top = max((t.value or low for t in study.finished), default=low + 0.01)
    margin = 0.05 * (top - low) or 0.01
    return figure(traces, height=360, x=axis("trials that ended"), y=axis("score", range=[low - margin, top + margin]))


def _over_hours(study: Study, ended: Sequence[Trial], spent: np.ndarray, low: float) -> Spec:
    x, y, holders = _steps(study, ended)
    at = [float(spent[i]) for i in x]
    traces = [line(at, y, "best so far", COMPLETE, line={"shape": "hv"})]
    top = max(v for v in y if v is not None)
    if _has_report(study):
        report = [holder.report.get("mean") for holder in holders]
        traces.append(line(at, report, "the same run, report sequences", REPORT, line={"shape": "hv", "dash": "dash"}))
        known = [v for v in report if v is not None]
        top, low = max([top, *known]), min([low, *known])
    margin = 0.05 * (top - low) or 0.01
    return figure(traces, height=360, x=axis(study.time_unit), y=axis("score", range=[low - margin, top + margin]))


def _steps(study: Study, ended: Sequence[Trial]) -> tuple[list[int], list[float | None], list[Trial]]:
    """Where the best changed, and the end: index among the ended trials, best value, its trial."""
    x: list[int] = []
    y: list[float | None] = []
    holders: list[Trial] = []
    for i, trial in enumerate(ended):
        if trial.state == "complete" and trial.value is not None and (not y or trial.value > (y[-1] or 0.0)):
            x.append(i)
            y.append(trial.value)
            holders.append(trial)
    if x and x[-1] != len(ended) - 1:
        x.append(len(ended) - 1)
        y.append(y[-1])
        holders.append(holders[-1])
    return x, y, holders


def _improvements(study: Study, ended: Sequence[Trial], spent: np.ndarray) -> PageTable:
    """Each new best run, and what it took since the one before: trials, seconds and hours of training."""
    x, y, holders = _steps(study, ended)
    rows: list[list[Any]] = []
    before, at, value = -1, 0.0, None
    for i, score_, trial in zip(x, y, holders, strict=True):
        if value is not None and score_ is not None and not score_ > value:
            continue  # the end of the line, not an improvement
        assert score_ is not None
        hours_ = float(spent[i])
        gain = None if value is None else score_ - value
        rows.append([trial.number, score_, gain, i - before, round(3600 * (hours_ - at), 1), hours_])
        before, at, value = i, hours_, score_
    columns = ["trial", "score", "gain", "trials since", "seconds since", "hours so far"]
    text = "Every improvement of the best finished run, and what it took since the one before"
    return PageTable("improvements", columns, rows[::-1], text, 8, sequences="selection")


def _bottom(study: Study) -> tuple[float, int]:
    """The lowest score that the figure shows, and how many runs lie below it."""
    values = np.array([t.value for t in study.scored if t.value is not None] or [0.0, 1.0])
    low, middle, high = np.quantile(values, [0.02, 0.5, 1.0])
    bottom = max(float(values.min()), min(float(low), float(middle - 2 * (high - middle))))
    return bottom, int((values < bottom).sum())


def _hovered(trials: Sequence[Trial]) -> Spec:
    return {"text": [_hover(trial) for trial in trials], "hovertemplate": "%{text}<extra></extra>"}


def _hover(trial: Trial) -> str:
    words = f"trial {trial.number}, {trial.state}"
    words += f"<br>{score(trial.value)}" if trial.value is not None else ""
    return words + (f"<br>{safe(trial.reason[:80])}" if trial.reason else "")


def _has_report(study: Study) -> bool:
    return any("mean" in t.report for t in study.finished)


def _dotted(study: Study) -> str:
    return " Failed ones are marked at the bottom." if study.of("failed") else ""


def _text(study: Study, ended: Sequence[Trial]) -> str:
    words = [f"{len(study.of(state))} {state}" for state in ("complete", "pruned", "failed")]
    imported = sum(t.imported is not None for t in ended)
    extra = f", {imported} of them imported from {study.previous}, whose hours do not count here" if imported else ""
    return f"{plural(len(ended), 'trial')} ended ({', '.join(words)}){extra}, in {study.duration(hours(ended))}."


def _noise(study: Study) -> str:
    """What a single score is worth, where runs were repeated."""
    noise = study.ranking.noise
    return "" if noise is None else f" (a run varies by {noise:.4f} under its seed)"


def _finding(study: Study, ended: Sequence[Trial], spent: np.ndarray, place: int) -> str:
    best = study.best
    assert best is not None
    report = best.report.get("mean")
    seen = f", {score(report)} on sequences no decision has seen" if report is not None else ""
    done = float(spent[place] / spent[-1]) if spent[-1] > 0 else (place + 1) / len(ended)
    unit = "hours" if spent[-1] > 0 else "trials"
    when = f"It came at the very end of the {unit}" if done > 0.98 else f"It came after {share(done)} of the {unit}"
    words = f"The best of {plural(len(study.finished), 'finished run')} is trial {best.number} with {score(best.value)}"
    words += f"{_noise(study)}{seen}. {when}"
    _, values, _ = _steps(study, ended)
    half = [v for i, v in zip(_steps(study, ended)[0], values, strict=True) if spent[i] <= spent[-1] / 2]
    if half and spent[-1] > 0:
        gain = (values[-1] or 0.0) - (half[-1] or 0.0)
        words += (
            f"; the second half of the hours brought {gain:.4f}." if gain > 0 else "; the second half brought nothing."
        )
    else:
        words += "."
    return words
