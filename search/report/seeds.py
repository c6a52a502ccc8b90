"""How much of a score is its seed, and which configurations hold up when they are repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.report.page import Figure, PageTable, Section
from search.report.record import Study
from search.report.style import (
    COMPLETE,
    REPLICATE,
    REPORT,
    Spec,
    axis,
    figure,
    plural,
    points,
    safe,
    score,
    share,
)
from search.study.open import SEEDS
from search.study.random_effects import INTERVAL
from search.study.ranking import RankedConfiguration, varying
from search.study.runs import Run

SHOWN = 15


def section(study: Study) -> Section:
    """The repeated configurations with every run, and what the spread means for all other scores here."""
    title = "Seeds and variance"
    ranking = study.ranking
    rows = ranking.repeated
    if not rows or ranking.noise is None or ranking.between is None:
        under_way = [t for t in study.replicates if t.state in ("waiting", "running")]
        text = (
            "No configuration was repeated, so it is not known how much of a score is due to its seed, and every order "
            "of single runs on this page may be chance.\n"
        )
        if under_way:
            text += f"{plural(len(under_way), 'replicate')} are queued or running."
        elif study.finished:
            text += f"lobtuna replicate {study.name}"
        return Section("seeds", title, text, finding=_unknown(study))
    shown = rows[:SHOWN]
    luck = (
        f" The search's own runs of these configurations are {ranking.luck:.4f} too high, for they are why these were "
        "chosen; the estimates do without that."
        if ranking.luck is not None and ranking.luck > 0
        else ""
    )
    text = (
        f"{plural(len(rows), 'configuration')} were repeated under other seeds. One run varies by {ranking.noise:.4f} "
        f"(standard deviation) under its seed; the configurations themselves differ by {ranking.between:.4f}.{luck} "
        "Two configurations of five runs each can be told apart when they differ by about "
        f"{_apart(ranking.noise, 5):.4f}; two single runs, by {_apart(ranking.noise, 1):.4f}."
    )
    caption = (
        "Each line is a configuration. Green dots: replicates; blue diamond: the run that the search made; black bar: "
        f"estimate with its {share(INTERVAL)} interval, shrunk by how noisy its runs are."
    )
    figures = [Figure(caption, ranking_figure(shown), "selection", title="Repeated configurations", half=True)]
    if any(row.report for row in shown):
        caption = "The same runs on the report sequences, which played no part in choosing or stopping them."
        figures.append(Figure(caption, _on_report(shown), "report", title="The same on report sequences", half=True))
    return Section("seeds", title, text, figures, [_table(rows), _runs_table(rows)], _finding(study, rows))


def _apart(noise: float, runs: int) -> float:
    """Difference of two means of `runs` runs that a test at the 5 % level finds with 80 % power."""
    return 2.8 * noise * math.sqrt(2 / runs)


def _unknown(study: Study) -> str:
    if len(study.finished) < 2:
        return ""
    return (
        "How much a seed matters here is unknown: no configuration was repeated. Until then the order of the best "
        "runs is mostly luck."
    )


def _finding(study: Study, rows: Sequence[RankedConfiguration]) -> str:
    noise = study.ranking.noise or 0.0
    first = rows[0]
    chance = first.probability_best or 0.0
    lucky = max(rows, key=lambda row: row.best_run.value)
    words = (
        f"One run varies by {noise:.4f} under its seed. The configuration of trial {first.trial} is estimated at "
        f"{score(first.estimate)} ({score(first.low)} to {score(first.high)}) and is the best of the {len(rows)} "
        f"repeated ones with probability {chance:.2f}"
    )
    if lucky is not first:
        words += f"; the luckiest single run, {score(lucky.best_run.value)}, belongs to trial {lucky.trial}"
    return words + "."


def ranking_figure(rows: Sequence[RankedConfiguration]) -> Spec:
    """Repeated configurations with their runs and estimates; also a plot of the dashboard."""
    names = [_name(row) for row in rows]
    traces = []
    for label, color, symbol, replicate in (
        ("replicates", REPLICATE, "circle", True),
        ("the search's run", COMPLETE, "diamond", False),
    ):
        pairs = [(n, r) for n, row in zip(names, rows, strict=True) for r in row.runs if _is_replicate(r) is replicate]
        dots = points(
            [r.value for _, r in pairs], [n for n, _ in pairs], label, color, marker={"symbol": symbol, "size": 7}
        )
        hover = [f"{safe(r.name)}, seed {r.seed}" for _, r in pairs]
        traces.append({**dots, "text": hover, "hovertemplate": "%{text}: %{x:.4f}<extra></extra>", "opacity": 0.75})
    middle = [row.estimate or 0.0 for row in rows]
    error = {
        "type": "data",
        "array": [round((row.high or m) - m, 6) for row, m in zip(rows, middle, strict=True)],
        "arrayminus": [round(m - (row.low or m), 6) for row, m in zip(rows, middle, strict=True)],
        "thickness": 2.5,
        "width": 0,
        "color": "#1d2733",
    }
    marker = {"symbol": "line-ns-open", "size": 14, "line": {"width": 3}}
    traces.append(points(middle, names, "estimate", "#1d2733", marker=marker, error_x=error))
    return figure(
        traces,
        height=110 + 30 * len(rows),
        x=axis("score"),
        y=axis("", autorange="reversed", type="category", ticks=""),
    )


def _on_report(rows: Sequence[RankedConfiguration]) -> Spec:
    names = [_name(row) for row in rows]
    pairs = [(n, r) for n, row in zip(names, rows, strict=True) for r in row.runs if r.report]
    dots = points([r.report["mean"] for _, r in pairs], [n for n, _ in pairs], "runs", REPORT, marker={"size": 7})
    means = [row.report[0] if row.report else None for row in rows]
    bar = points(means, names, "mean", "#1d2733", marker={"symbol": "line-ns-open", "size": 14, "line": {"width": 3}})
    return figure(
        [{**dots, "opacity": 0.75}, bar],
        height=110 + 30 * len(rows),
        x=axis("score"),
        y=axis("", autorange="reversed", type="category", ticks="", categoryarray=names),
    )


def _name(row: RankedConfiguration) -> str:
    return f"trial {row.trial}" if row.trial is not None else row.key


def _is_replicate(run: Run) -> bool:
    return run.study.endswith(SEEDS)


def _table(rows: Sequence[RankedConfiguration]) -> PageTable:
    names = varying(rows)
    columns = ["trial", "runs", "estimate", "low", "high", "P(best)", "mean", "sd", "report mean", "report sd", *names]
    lines = []
    for row in rows:
        report = row.report or (None, None)
        lines.append(
            [
                row.trial,
                row.n,
                row.estimate,
                row.low,
                row.high,
                None if row.probability_best is None else round(row.probability_best, 3),
                row.mean,
                row.spread,
                *report,
                *(row.configuration.get(name) for name in names),
            ]
        )
    return PageTable(
        "ranking", columns, lines, "The repeated configurations, best estimate first", SHOWN, sequences="both"
    )


def _runs_table(rows: Sequence[RankedConfiguration]) -> PageTable:
    lines = [
        [row.trial, run.name, run.seed, _is_replicate(run), run.value, run.report.get("mean")]
        for row in rows
        for run in row.runs
    ]
    return PageTable("replicates", ["trial", "run", "seed", "replicate", "select", "report"], lines, on_page=False)
