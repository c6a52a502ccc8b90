"""How selection scores relate to report scores, and how the scores of the two targets relate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.report.numbers import LEVEL, SEED, Floats, around, spearman
from search.report.page import Figure, PageTable, Section
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
    lying,
    named,
    plural,
    points,
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
            "from the sequences that also chose epochs and runs, and is too high by an unknown amount."
        )
        return Section("report", title, text)
    runs = [t for t in study.finished if "mean" in t.report]
    if len(runs) < LEAST:
        text = f"{plural(len(runs), 'finished run')} with a score on the report sequences: too few to compare."
        return Section("report", title, text)
    found = compare(runs)
    select, report = found.select, found.report
    caption = (
        f"Each dot is a finished run, the best {found.count} by selection dark. Purple: fitted over the better half. "
        "On the grey line both scores are equal."
    )
    figures = [Figure(caption, _scatter(runs, found), "both", half=True), _both_scores(runs, select, report)]
    rows = [[t.number, a, b, a - b] for t, a, b in zip(runs, select.tolist(), report.tolist(), strict=True)]
    table = PageTable("selection_report", ["trial", "select", "report", "difference"], rows, on_page=False)
    return Section("report", title, _report_text(study, found), figures, [table], _report_finding(found))


@dataclass(frozen=True)
class Comparison:
    """Selection and report scores of n finished runs; pairs are the ends of an interval."""

    select: Floats  # (n,)
    report: Floats
    order: tuple[int, ...]  # by selection, best first
    count: int  # of runs that count as the best
    gap: float  # mean of selection minus report over all runs
    luck: float  # by how much more the best lose than all
    luck_ends: tuple[float, float]
    correlation: float  # rank correlation of the two
    correlation_ends: tuple[float, float]
    slope: float  # of report on selection, over the better half, because no choice is made among the rest
    slope_ends: tuple[float, float]


def compare(runs: Sequence[Trial]) -> Comparison:
    """Compare the two scores of runs that have both; intervals by resampling runs."""
    select = np.array([t.value or 0.0 for t in runs])
    report = np.array([t.report["mean"] for t in runs])
    count = max(3, round(len(runs) / 10))
    rng = np.random.default_rng(SEED)
    picks = [rng.integers(len(runs), size=len(runs)) for _ in range(RESAMPLES)]
    samples = np.array([_three(select[pick], report[pick], count) for pick in picks])
    luck, correlation, slope = three = _three(select, report, count)
    low, high = (np.nan_to_num(part) for part in around(np.array(three), np.nan_to_num(samples)))
    ends = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    ends[1] = (max(ends[1][0], -1.0), min(ends[1][1], 1.0))
    order = tuple(int(i) for i in np.argsort(-select))
    gap = float((select - report).mean())
    return Comparison(select, report, order, count, gap, luck, ends[0], correlation, ends[1], slope, ends[2])


def _three(select: Floats, report: Floats, count: int) -> tuple[float, float, float]:
    """Luck of the best, rank correlation, slope over the better half."""
    lost = select - report
    luck = float(lost[np.argsort(-select)[:count]].mean() - lost.mean())
    half = select >= np.median(select)
    x, y = select[half], report[half]
    slope = float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 0 else 0.0
    return luck, spearman(select, report), slope


def _report_text(study: Study, found: Comparison) -> str:
    side = "lower" if found.gap > 0 else "higher"
    low, high = found.slope_ends
    words = (
        f"{share(study.report_fraction)} of the validation sequences are never used to choose an epoch, prune a run or "
        f"pick a configuration. Scores on them are {abs(found.gap):.4f} {side} on average over all finished runs, "
        f"which says how hard those sequences are. The best {found.count} by selection lose {abs(found.luck):.4f} "
        f"{'more' if found.luck > 0 else 'less'} than that (in excess {found.luck:.4f}, {share(LEVEL)} interval "
        f"{found.luck_ends[0]:.4f} to {found.luck_ends[1]:.4f}): the luck of having been selected. "
    )
    if low > 0:
        return words + (
            "Among the better half, a selection score that is .01 higher means a report score that is "
            f"{0.01 * found.slope:.4f} higher ({0.01 * low:.4f} to {0.01 * high:.4f})."
        )
    return words + "Among the better half, a higher selection score does not go with a higher report score."


def _report_finding(found: Comparison) -> str:
    low, high = found.correlation_ends
    words = f"rank correlation {found.correlation:.2f} ({low:.2f} to {high:.2f})"
    if not low > 0.1:
        return (
            f"The report sequences do not confirm the order of the runs: {words}. There are too few runs or sequences "
            "to tell the finished runs apart."
        )
    extra = (
        f"; the best {found.count} lose {found.luck:.4f} more than the rest on them, which is the luck of selection"
        if found.luck_ends[0] > 0
        else ""
    )
    return f"Sequences that no decision has seen order the runs {_how(low)} as selection does: {words}{extra}."


def _how(correlation: float) -> str:
    return "much" if correlation > 0.5 else "somewhat"


def _scatter(runs: Sequence[Trial], found: Comparison) -> Spec:
    select, report, top = found.select, found.report, set(found.order[: found.count])
    half = select >= np.median(select)
    ends = np.array([np.median(select), select.max()])
    fitted = report[half].mean() + found.slope * (ends - select[half].mean())
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


def _both_scores(runs: Sequence[Trial], select: Floats, report: Floats) -> Figure:
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
    """The first two targets against each other at the best epoch of every finished run."""
    names = study.schema.targets[:2]
    if len(names) < 2:
        return Section("targets", "Targets", f"The data has one target, {names[0]}.")
    title, (a, b) = " against ".join(names), map(named, names)
    runs = [t for t in study.finished if set(names) <= set(t.select)]
    if len(runs) < LEAST:
        return Section("targets", title, f"{plural(len(runs), 'finished run')} with both scores: too few to compare.")
    first, second = (np.array([t.select[name] for t in runs]) for name in names)
    best0, best1 = int(np.argmax(first)), int(np.argmax(second))
    correlation = spearman(first, second)
    together = "go together" if correlation > 0.5 else "compete" if correlation < -0.2 else "are nearly independent"
    text = (
        f"Over {len(runs)} finished runs the two targets {together} (rank correlation {correlation:.2f}). {a} varies "
        f"by {first.std():.4f} between runs, {b} by {second.std():.4f}. The best run for {a} is trial "
        f"{runs[best0].number} ({score(first[best0])}, {b} {score(second[best0])}); for {b} trial {runs[best1].number} "
        f"({score(second[best1])}, {a} {score(first[best1])})."
    )
    hidden = int(((first < _padded(first)[0]) | (second < _padded(second)[0])).sum())
    caption = (
        "Score of each finished run on the two targets, at the best epoch of their mean. Thin lines: equal mean."
        + (f" {lying(hidden)} outside the picture." if hidden else "")
    )
    fig = Figure(caption, _targets(study, runs, first, second), "selection")
    rows = [[t.number, x, y, (x + y) / 2] for t, x, y in zip(runs, first.tolist(), second.tolist(), strict=True)]
    return Section(
        "targets", title, text, [fig], [PageTable("targets", ["trial", *names, "mean"], rows, on_page=False)]
    )


def _targets(study: Study, runs: Sequence[Trial], first: Floats, second: Floats) -> Spec:
    split = next((name for name in ("loss", "architecture") if name in study.searched), None)
    kinds: dict[str, list[int]] = {}
    for i, trial in enumerate(runs):
        kinds.setdefault(str(trial.configuration.get(split, "")) if split else "finished", []).append(i)
    traces, (a, b) = _equal_means(first, second), map(named, study.schema.targets[:2])
    for (kind, members), color in zip(kinds.items(), SERIES * (1 + len(kinds) // len(SERIES)), strict=False):
        dots = points([float(first[i]) for i in members], [float(second[i]) for i in members], named(kind), color)
        hover = [f"trial {runs[i].number}" for i in members]
        template = f"%{{text}}: {a} %{{x:.4f}}, {b} %{{y:.4f}}<extra></extra>"
        traces.append({**dots, "text": hover, "hovertemplate": template})
    x, y = (axis(name, range=_padded(values)) for name, values in ((a, first), (b, second)))
    return figure(traces, height=400, x=x, y=y)


def _equal_means(first: Floats, second: Floats) -> list[Spec]:
    (x0, x1), (y0, y1) = _padded(first), _padded(second)
    sums = np.linspace(x0 + y0, x1 + y1, 9)[1:-1]
    x = [v for s in sums for v in (x0, x1, None)]
    y = [v for s in sums for v in (s - x0, s - x1, None)]
    return [line(x, y, "", "#dfe5ea", line={"width": 1}, showlegend=False, hoverinfo="skip")]


def _padded(values: Floats) -> list[float]:
    low, lower, middle, high = np.quantile(values, [0.0, 0.2, 0.5, 1.0])
    low = max(low, min(lower, middle - 2.5 * (high - middle)))
    margin = 0.06 * (high - low) or 0.01
    return [float(low - margin), float(high + margin)]
