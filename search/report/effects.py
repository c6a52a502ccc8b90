"""What each parameter does to the score, the others taken into account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.report.additive import Additive, fit
from search.report.factors import Factor, factors
from search.report.importance import Importance
from search.report.numbers import LEVEL, SEED, Floats, credited, interval
from search.report.page import Figure, PageTable, Section
from search.report.record import Study, Trial
from search.report.style import (
    COMPLETE,
    PRUNED,
    Spec,
    axis,
    band,
    broken,
    faded,
    figure,
    line,
    log_ticks,
    plural,
    points,
    safe,
    share,
)
from search.studyfile.parameters import IntRange

LEAST = 12  # runs that an additive model needs
SHOWN = 8  # parameters with a figure; the table has all
DOTS = 400  # runs drawn behind an effect
FEWEST = 3  # runs that a level needs to be named in a finding


@dataclass(frozen=True)
class Effects:
    """The additive model over the searched parameters, and the runs it was fitted to."""

    trials: tuple[Trial, ...]
    values: Floats  # (n,) pruned runs credited
    factors: tuple[Factor, ...]
    model: Additive

    def of(self, name: str) -> int | None:
        """Index of the factor of a parameter, None where it took one level only."""
        return next((i for i, factor in enumerate(self.factors) if factor.name == name), None)


def effects(study: Study) -> Effects | None:
    """Fit the additive model; None where there are too few runs or nothing varied."""
    trials, values = credited(study)
    found = factors(study.searched, trials)
    if len(trials) < LEAST or not found or np.ptp(values) == 0:
        return None
    return Effects(tuple(trials), values, tuple(found), fit(values, found))


def section(study: Study, found: Effects | None, ranked: Importance | None) -> Section:
    """One figure a parameter, the most important first, and the table of all effects."""
    title = "What each parameter does"
    if found is None:
        text = f"Effects were not estimated: it takes {LEAST} finished or pruned runs, there are {len(study.scored)}."
        return Section("effects", title, text)
    order = order_of(found, ranked)
    shown = [_figure(found, i) for i in order[:SHOWN]]
    text = (
        "An additive model of the score over all searched parameters, so that each effect is free of the company its "
        f"values kept: it predicts {share(found.model.explained)} of the variance of runs left out; the rest is seeds "
        "and what parameters do together. A pruned run is credited with what finished runs still gained after the "
        "epoch at which it was ended."
    )
    return Section("effects", title, text, shown, [_table(found, order)], _finding(found, order))


def order_of(found: Effects, ranked: Importance | None) -> list[int]:
    """Factors by importance, else by the span of their effects."""
    if ranked is None:
        spans = [float(np.ptp(effect[factor.counts > 0])) for factor, effect in _pairs(found)]
        return [int(i) for i in np.argsort(spans)[::-1]]
    place = {name: i for i, name in enumerate(ranked.names)}
    return sorted(range(len(found.factors)), key=lambda i: place.get(found.factors[i].name, len(place)))


def _pairs(found: Effects) -> list[tuple[Factor, Floats]]:
    return list(zip(found.factors, found.model.effects, strict=True))


def _finding(found: Effects, order: Sequence[int]) -> str:
    """The surest difference between two levels of one parameter."""
    best: tuple[float, str] = (0.0, "")
    for i in order:
        factor, effect, samples = found.factors[i], found.model.effects[i], found.model.samples[i]
        usable = np.flatnonzero(factor.counts >= FEWEST)
        if len(usable) < 2:
            continue
        top, bottom = usable[np.argmax(effect[usable])], usable[np.argmin(effect[usable])]
        low, high = interval(samples[:, top] - samples[:, bottom])
        gap = float(effect[top] - effect[bottom])
        if low > 0 and gap > best[0]:
            words = f"{factor.name} {factor.labels[top]} scores {gap:.4f} above {factor.labels[bottom]}"
            sure = f"{share(LEVEL)} interval {low:.4f} to {high:.4f}, from {factor.counts[top]} and"
            runs = f"{sure} {plural(int(factor.counts[bottom]), 'run')}"
            best = (gap, f"The largest effect of one parameter: {words}, all else equal ({runs}).")
    return best[1]


def _figure(found: Effects, i: int) -> Figure:
    factor, effect, samples = found.factors[i], found.model.effects[i], found.model.samples[i]
    low, high = interval(samples)
    mean = found.model.mean
    traces = _dots(found, factor)
    shown = [level for level in range(len(factor.labels)) if factor.counts[level] >= FEWEST]
    numeric = [level for level in shown if factor.centers[level] is not None]
    others = [level for level in shown if factor.centers[level] is None]
    if numeric:
        x = [factor.centers[level] for level in numeric]
        below, above = (mean + low[numeric]).tolist(), (mean + high[numeric]).tolist()
        traces.append(band(x, below, above, COMPLETE, "interval", showlegend=False))
        traces.append(line(x, mean + effect[numeric], "effect", COMPLETE, mode="lines+markers", showlegend=False))
    if others:
        traces.append(_crosses([_place(factor, level) for level in others], mean, effect, low, high, others))
    count = int((factor.index >= 0).sum())
    note = "" if count == len(found.trials) else f", in the {count} runs in which it means something"
    note += f" (no effect where fewer than {FEWEST} runs are)" if (factor.counts < FEWEST).any() else ""
    text = f"Score over {factor.name}{note}. Dots: runs, pruned ones orange; blue: effect, {share(LEVEL)} interval."
    spec = figure(traces, height=270, x=_axis(factor), y=axis("score", range=_range(found.values)))
    return Figure(text, spec, "selection", title=factor.name, half=True)


def _dots(found: Effects, factor: Factor) -> list[Spec]:
    """Runs as dots, at most `DOTS`, those of a level spread out sideways."""
    rng = np.random.default_rng(SEED)
    usable = np.flatnonzero(factor.index >= 0)
    chosen = np.sort(rng.permutation(usable)[:DOTS])
    traces = []
    for state, color in (("pruned", PRUNED), ("complete", COMPLETE)):
        members = [int(j) for j in chosen if found.trials[j].state == state]
        x = [_x(factor, j, float(rng.uniform(-0.22, 0.22))) for j in members]
        marker = {"size": 4, "color": faded(color, 0.38)}
        hover = [safe(f"trial {found.trials[j].number}: {factor.name} {_text(factor.values[j])}") for j in members]
        dots = points(x, [float(found.values[j]) for j in members], state, color, marker=marker, showlegend=False)
        traces.append({**dots, "text": hover, "hovertemplate": "%{text}, %{y:.4f}<extra></extra>"})
    return traces


def _x(factor: Factor, run: int, jitter: float) -> Any:
    level = int(factor.index[run])
    if factor.centers[level] is not None:
        value = factor.values[run]
        step = getattr(factor.parameter, "step", None)
        return value + 0.6 * step * jitter if step and not _log(factor) else value
    place = _place(factor, level)
    return place * (1 + 0.15 * jitter) if _log(factor) else place + (jitter if not factor.numeric else 0)


def _place(factor: Factor, level: int) -> float:
    """The x position of a level without a number: its index, or left of the range where other levels have numbers."""
    if not factor.numeric:
        return float(level)
    low, high = factor.parameter.bounds  # type: ignore[union-attr]
    first = [i for i in range(len(factor.labels)) if factor.centers[i] is None].index(level)
    if _log(factor):
        return float(low * (low / high) ** (0.12 * (1 + first)))
    return float(low - (high - low) * 0.12 * (1 + first))


def _log(factor: Factor) -> bool:
    return bool(getattr(factor.parameter, "log", False))


def _axis(factor: Factor) -> Spec:
    others = [i for i in range(len(factor.labels)) if factor.centers[i] is None]
    if not factor.numeric:
        return axis("", tickvals=list(range(len(factor.labels))), ticktext=[broken(t) for t in factor.labels])
    low, high = factor.parameter.bounds  # type: ignore[union-attr]
    if _log(factor):
        marks = log_ticks(low, high)
        places = [_place(factor, i) for i in others] + marks["tickvals"]
        labels = [safe(factor.labels[i]) for i in others] + marks["ticktext"]
        return axis("", type="log", tickvals=places, ticktext=labels)
    if isinstance(factor.parameter, IntRange) and len({v for v in factor.values if v is not None}) <= 12:
        steps = sorted({float(v) for v in factor.values if v is not None and v not in factor.parameter.extra})
    elif others:
        steps = np.linspace(low, high, 5).tolist()
    else:
        return axis("")
    labels = [safe(factor.labels[i]) for i in others] + [f"{v:.3g}" for v in steps]
    return axis("", tickvals=[_place(factor, i) for i in others] + steps, ticktext=labels)


def _crosses(x: list[float], mean: float, effect: Floats, low: Floats, high: Floats, levels: list[int]) -> Spec:
    middle = [mean + float(effect[level]) for level in levels]
    error = {
        "type": "data",
        "array": [float(high[level] - effect[level]) for level in levels],
        "arrayminus": [float(effect[level] - low[level]) for level in levels],
        "thickness": 2,
        "width": 5,
        "color": COMPLETE,
    }
    marker = {"size": 9, "symbol": "diamond", "color": COMPLETE, "line": {"color": "#fff", "width": 1}}
    return points(x, middle, "effect", COMPLETE, marker=marker, error_y=error, showlegend=False)


def _range(values: Floats) -> list[float]:
    """The range of scores to show: with the worst runs, all others would be squeezed into a line."""
    low, middle, high = np.quantile(values, [0.05, 0.5, 1])
    bottom = max(float(values.min()), float(middle - 2.5 * (high - middle)), float(low - (high - low) * 0.25))
    margin = 0.04 * (float(high) - bottom) or 0.01
    return [bottom - margin, float(high) + margin]


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(found: Effects, order: Sequence[int]) -> PageTable:
    rows: list[list[Any]] = []
    for i in order:
        factor, effect, samples = found.factors[i], found.model.effects[i], found.model.samples[i]
        low, high = interval(samples)
        for level, label in enumerate(factor.labels):
            if factor.counts[level]:
                plain = float(found.values[factor.index == level].mean())
                numbers = (float(effect[level]), float(low[level]), float(high[level]))
                rows.append([factor.name, label, int(factor.counts[level]), plain, *numbers])
    columns = ["parameter", "level", "runs", "plain_mean", "effect", "effect_low", "effect_high"]
    return PageTable(
        "effects", columns, rows, "Every level of every parameter", 200, folded=True, sequences="selection"
    )
