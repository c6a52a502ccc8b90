"""What a score on the selection sequences is worth on others, and how the two targets go together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.report.numbers import LEVEL, SEED, Floats, interval, spearman
from search.report.page import Figure, Section, Table
from search.report.record import Study, Trial
from search.report.style import (
    COMPLETE,
    QUIET,
    REPORT,
    SERIES,
    Spec,
    axis,
    figure,
    line,
    plural,
    points,
    safe,
    score,
    share,
)

LEAST = 5  # runs with both scores
RESAMPLES = 400


def report_section(study: Study) -> Section:
    """Selection score against report score of every finished run."""
    title = "Selection and report"
    if study.report_fraction == 0:
        text = (
            "This study keeps no validation sequences apart (report_fraction is 0): every score on this page comes "
            "from the "
            "sequences that also chose epochs and runs, and is too high by an amount nobody can tell."
        )
        return Section("report", title, text)
    runs = [t for t in study.finished if "mean" in t.report]
    if len(runs) < LEAST:
        text = f"{plural(len(runs), 'finished run')} with a score on the report sequences: too few to compare."
        return Section("report", title, text)
    select = np.array([t.value or 0.0 for t in runs])
    report = np.array([t.report["mean"] for t in runs])
    order = np.argsort(-select)
    count = max(3, round(len(runs) / 10))
    fall, fall_all = float((select - report)[order[:count]].mean()), float((select - report).mean())
    half = select >= np.median(select)  # a few bad runs would decide the slope, and nobody chooses among those
    low, high, slope = _slope(select[half], report[half])
    text = (
        f"{share(study.report_fraction)} of the validation sequences are never used to choose an epoch, prune a run "
        "or pick a "
        f"configuration. On them the finished runs score {abs(fall_all):.4f} {'less' if fall_all > 0 else 'more'} on "
        "average; "
        f"the best {count} by selection {abs(fall):.4f} {'less' if fall > 0 else 'more'}. The difference of the two, "
        f"{fall - fall_all:+.4f}, is the luck of having been selected. Among the better half, a selection score that "
        "is .01 higher means a "
        "report "
        f"score that is {0.01 * slope:.4f} higher ({share(LEVEL)} interval {0.01 * low:.4f} to {0.01 * high:.4f})."
    )
    caption = (
        f"Each dot is a finished run, the best {count} by selection dark; rank correlation "
        f"{spearman(select, report):.2f}. "
        "Purple: fitted over the better half. On the grey line both scores are equal."
    )
    fig = Figure(caption, _scatter(runs, select, report, slope, set(order[:count].tolist())), "both", half=True)
    finding = (
        f"Selection flatters: the best {count} runs lose {fall:.4f} on sequences no decision has seen, all finished "
        "runs "
        f"lose {fall_all:.4f}."
    )
    rows = [[t.number, a, b, a - b] for t, a, b in zip(runs, select.tolist(), report.tolist(), strict=True)]
    table = Table("selection_report", ["trial", "select", "report", "difference"], rows, on_page=False)
    best = _report_ranks(runs, select, report)
    return Section("report", title, text, [fig, best], [table], finding if fall > 0 else "")


def _slope(x: Floats, y: Floats) -> tuple[float, float, float]:
    rng = np.random.default_rng(SEED)
    slopes = []
    for _ in range(RESAMPLES):
        pick = rng.integers(len(x), size=len(x))
        if np.ptp(x[pick]) > 0:
            slopes.append(float(np.polyfit(x[pick], y[pick], 1)[0]))
    point = float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 0 else 0.0
    if not slopes:
        return point, point, point
    low, high = interval(np.array(slopes))
    return float(low), float(high), point


def _scatter(runs: Sequence[Trial], select: Floats, report: Floats, slope: float, top: set[int]) -> Spec:
    half = select >= np.median(select)
    ends = np.array([np.median(select), select.max()])
    fitted = report[half].mean() + slope * (ends - select[half].mean())
    whole = [float(select.min()), float(select.max())]
    traces = [line(whole, whole, "equal", QUIET, line={"width": 1}, hoverinfo="skip")]
    for name, color, inside in (("finished", "#a9c4e0", False), ("best by selection", COMPLETE, True)):
        members = [i for i in range(len(runs)) if (i in top) is inside]
        dots = points([float(select[i]) for i in members], [float(report[i]) for i in members], name, color)
        hover = [f"trial {runs[i].number}" for i in members]
        traces.append({**dots, "text": hover, "hovertemplate": "%{text}: %{x:.4f}, %{y:.4f}<extra></extra>"})
    traces.append(line(ends.tolist(), fitted.tolist(), "fit", REPORT, hoverinfo="skip"))
    x, y = (axis(f"{name} sequences", range=_padded(v)) for name, v in (("selection", select), ("report", report)))
    return figure(traces, height=360, x=x, y=y)


def _report_ranks(runs: Sequence[Trial], select: Floats, report: Floats) -> Figure:
    """The ten best by selection on both sets."""
    order = np.argsort(-select)[:10]
    names = [f"trial {runs[int(i)].number}" for i in order]
    traces = [
        line(
            [v for i in order for v in (float(select[i]), float(report[i]), None)],
            [v for n in names for v in (n, n, None)],
            "",
            "#cfd6dc",
            showlegend=False,
            hoverinfo="skip",
        ),
        points([float(select[i]) for i in order], names, "selection", COMPLETE, marker={"size": 9}),
        points([float(report[i]) for i in order], names, "report", REPORT, marker={"size": 9}),
    ]
    spec = figure(traces, height=360, x=axis("score"), y=axis("", autorange="reversed", type="category", ticks=""))
    return Figure(
        "The ten best runs by selection, and what they score on the report sequences.", spec, "both", half=True
    )


def targets_section(study: Study) -> Section:
    """t0 against t1 at the best epoch of every finished run."""
    title = "t0 against t1"
    runs = [t for t in study.finished if {"t0", "t1"} <= set(t.select)]
    if len(runs) < LEAST:
        return Section("targets", title, f"{plural(len(runs), 'finished run')} with both scores: too few to compare.")
    first, second = (np.array([t.select[name] for t in runs]) for name in ("t0", "t1"))
    best0, best1 = int(np.argmax(first)), int(np.argmax(second))
    correlation = spearman(first, second)
    together = "go together" if correlation > 0.5 else "compete" if correlation < -0.2 else "are nearly independent"
    text = (
        f"Over {len(runs)} finished runs the two targets {together} (rank correlation {correlation:.2f}). t0 varies by "
        f"{first.std():.4f} between runs, t1 by {second.std():.4f}. The best run for t0 is trial {runs[best0].number} "
        f"({score(first[best0])}, t1 {score(second[best0])}); for t1 trial {runs[best1].number} "
        f"({score(second[best1])}, t0 "
        f"{score(first[best1])})."
    )
    caption = "Score of each finished run on the two targets, at the best epoch of their mean. Thin lines: equal mean."
    fig = Figure(caption, _targets(study, runs, first, second), "selection")
    rows = [[t.number, a, b, (a + b) / 2] for t, a, b in zip(runs, first.tolist(), second.tolist(), strict=True)]
    return Section(
        "targets", title, text, [fig], [Table("targets", ["trial", "t0", "t1", "mean"], rows, on_page=False)]
    )


def _targets(study: Study, runs: Sequence[Trial], first: Floats, second: Floats) -> Spec:
    split = next((name for name in ("loss", "architecture") if name in study.searched), None)
    kinds: dict[str, list[int]] = {}
    for i, trial in enumerate(runs):
        kinds.setdefault(str(trial.configuration.get(split, "")) if split else "finished", []).append(i)
    traces = _equal_means(first, second)
    for (kind, members), color in zip(kinds.items(), SERIES * (1 + len(kinds) // len(SERIES)), strict=False):
        dots = points([float(first[i]) for i in members], [float(second[i]) for i in members], safe(kind), color)
        hover = [f"trial {runs[i].number}" for i in members]
        traces.append({**dots, "text": hover, "hovertemplate": "%{text}: t0 %{x:.4f}, t1 %{y:.4f}<extra></extra>"})
    x, y = (axis(name, range=_padded(values)) for name, values in (("t0", first), ("t1", second)))
    return figure(traces, height=400, x=x, y=y)


def _equal_means(first: Floats, second: Floats) -> list[Spec]:
    (x0, x1), (y0, y1) = _padded(first), _padded(second)
    sums = np.linspace(x0 + y0, x1 + y1, 9)[1:-1]
    x = [v for s in sums for v in (x0, x1, None)]
    y = [v for s in sums for v in (s - x0, s - x1, None)]
    return [line(x, y, "", "#dfe5ea", line={"width": 1}, showlegend=False, hoverinfo="skip")]


def _padded(values: Floats) -> list[float]:
    low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
    low = max(low, middle - 2.5 * (high - middle))
    margin = 0.06 * (high - low) or 0.01
    return [float(low - margin), float(high + margin)]
