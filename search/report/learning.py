"""Learning curves: score over epochs of all kinds of runs, of both targets, and against the training loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from search.report.page import Figure, Section
from search.report.record import Study, Trial
from search.report.style import (
    COMPLETE,
    PRUNED,
    REPLICATE,
    Spec,
    axis,
    faded,
    figure,
    line,
    named,
    plural,
    rule,
    safe,
    with_rules,
)

MOST = 120  # curves of a kind: with more, single ones cannot be seen
TARGET_CURVES = 20  # runs whose targets are drawn


def curves_section(study: Study) -> Section:
    """Score over epochs of pruned, finished and replicated runs."""
    title = "Learning curves"
    groups = _groups(study)
    if not groups:
        return Section("curves", title, "No trial has finished an epoch yet.")
    counts = [f"{plural(len(trials), name + ' run')}" for name, trials, _ in groups]
    drawn = [f"{MOST} of {len(trials)} {name}" for name, trials, _ in groups if len(trials) > MOST]
    limited = f" Drawn are {' and '.join(drawn)} runs, chosen evenly by score." if drawn else ""
    text = (
        f"Score after each epoch: {', '.join(counts)}. The thick line is the best finished run.{limited} Click a name "
        "in the legend to hide its curves."
    )
    losses = _loss_figure(study)
    figures = [Figure(text, curves_figure(study), "selection", title="Score over epochs", half=losses is not None)]
    targets = _target_curves(study)
    if losses is not None:
        caption = (
            "Training loss against the score after the same epoch, of the ten best finished runs: where a line bends "
            "back, the run goes on fitting the training sequences and no longer gains."
        )
        figures.append(Figure(caption, losses, "selection", title="Fitting against scoring", half=True))
    if targets is not None:
        caption = (
            "Scores of the targets after each epoch, of the best quarter of the finished runs, at most "
            f"{TARGET_CURVES}; thick: the best run."
        )
        drawn_targets = study.schema.targets[:2]
        if len(drawn_targets) == 2:
            caption += " Where the two peak at different epochs, one run cannot serve both."
        by_target = f"{' and '.join(map(named, drawn_targets))} over epochs"
        figures.append(Figure(caption, targets, "selection", title=by_target))
    return Section("curves", title, "", figures)


def _target_curves(study: Study) -> Spec | None:
    """Curves of the first two targets; None where no finished run has recorded them."""
    targets = study.schema.targets[:2]
    runs = sorted(study.finished, key=lambda t: -(t.value or 0.0))
    runs = [t for t in runs if t.history and all(set(targets) <= r.keys() for r in t.history)]
    if not runs:
        return None
    chosen = runs[: min(TARGET_CURVES, max(3, round(len(runs) / 4)))]
    traces = []
    for target, color in zip(targets, (COMPLETE, REPLICATE), strict=False):
        x, y = _joined((t.history, [r[target] for r in t.history]) for t in chosen)
        traces.append(line(x, y, named(target), faded(color, 0.35), line={"width": 1}, hoverinfo="skip"))
        best = chosen[0]
        epochs, values = [r["epoch"] for r in best.history], [r[target] for r in best.history]
        thick = line(epochs, values, f"{named(target)} of trial {best.number}", color, line={"width": 3})
        traces.append({**thick, "hovertemplate": f"epoch %{{x}}: {named(target)} %{{y:.4f}}<extra></extra>"})
    return figure(traces, height=340, x=axis("epoch (from 0)"), y=axis("score"))


def curves_figure(study: Study, most: int = MOST) -> Spec:
    """Curves by kind, each kind one line with gaps; also a plot of the dashboard."""
    traces = []
    for name, trials, color in _groups(study):
        chosen = _spread(trials, most)
        x, y = _joined((t.history, t.means) for t in chosen)
        traces.append(line(x, y, name, faded(color, 0.45), line={"width": 1}, hoverinfo="skip"))
    best = study.best
    if best is not None and best.history:
        epochs = [record["epoch"] for record in best.history]
        trace = line(epochs, best.means, f"best: trial {best.number}", "#12395f", line={"width": 3})
        traces.append({**trace, "hovertemplate": "epoch %{x}: %{y:.4f}<extra></extra>"})
    spec = figure(traces, height=360, x=axis("epoch (from 0)"), y=axis("score", range=_range(study)))
    warmup = study.spec.pruner.warmup_epochs
    if study.spec.pruner.name != "none":
        with_rules(spec, rule(warmup, "warm-up ends"))
    return spec


def _groups(study: Study) -> list[tuple[str, list[Trial], str]]:
    replicated = [t for t in study.replicates if t.state == "complete" and t.refit is None]
    kinds = (("pruned", study.of("pruned"), PRUNED), ("finished", study.of("complete"), COMPLETE))
    kinds_all = (*kinds, ("replicated", replicated, REPLICATE))
    found = [(name, [t for t in trials if t.history], color) for name, trials, color in kinds_all]
    return [group for group in found if group[1]]


def _spread(trials: Sequence[Trial], most: int) -> list[Trial]:
    """At most so many, evenly by score."""
    if len(trials) <= most:
        return list(trials)
    by_score = sorted(trials, key=lambda t: t.value or 0.0)
    return [by_score[int(i)] for i in np.linspace(0, len(by_score) - 1, most)]


def _joined(items: Iterable[tuple[Sequence[dict[str, Any]], Sequence[float]]]) -> tuple[list[Any], list[Any]]:
    x: list[Any] = []
    y: list[Any] = []
    for history, values in items:
        x += [record["epoch"] for record in history] + [None]
        y += [*values, None]
    return x, y


def _range(study: Study) -> list[float]:
    values = np.array([m for t in study.scored for m in t.means if np.isfinite(m)] or [0.0, 1.0])
    high = float(values.max())
    low = float(np.quantile(values, 0.03))
    return [low - 0.02 * (high - low), high + 0.04 * (high - low) + 1e-4]


def _loss_figure(study: Study) -> Spec | None:
    best = sorted(study.finished, key=lambda t: -(t.value or 0.0))[:10]
    usable = [t for t in best if len(t.history) > 2 and all("loss" in r for r in t.history)]
    if not usable:
        return None
    by_loss: dict[str, list[Trial]] = {}
    for trial in usable:  # losses of different kinds have different sizes
        by_loss.setdefault(str(trial.configuration.get("loss", "")), []).append(trial)
    kind, chosen = max(by_loss.items(), key=lambda item: len(item[1]))
    traces = []
    for trial in reversed(chosen):
        color = COMPLETE if trial is chosen[0] else faded(COMPLETE, 0.35)
        trace = line([r["loss"] for r in trial.history], trial.means, "", color, showlegend=False)
        traces.append({**trace, "hovertemplate": f"trial {trial.number}: %{{y:.4f}}<extra></extra>"})
    return figure(traces, height=360, x=axis(f"training loss ({safe(kind)})", autorange="reversed"), y=axis("score"))
