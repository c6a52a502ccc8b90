"""Where the best epochs of runs lie, from which a pruner's warm-up and an epoch limit are set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from search.report.factors import factors
from search.report.page import Figure, PageTable, Section
from search.report.record import Study, Trial
from search.report.style import (
    COMPLETE,
    PRUNED,
    REPLICATE,
    Spec,
    axis,
    figure,
    named,
    plural,
    points,
    rule,
    share,
    with_rules,
)

EARLY = 3  # finished runs needed to describe their best epochs
# What the place of the best epoch depends on most.
MOVING = ("architecture", "hidden_size", "num_layers", "lr", "batch_size", "scheduler", "loss")


def section(study: Study) -> Section:
    """Where best epochs lie, and what follows for warm-up and epoch limit."""
    title = "Where best epochs lie"
    runs = [t for t in study.finished if t.best_epoch is not None]
    if len(runs) < EARLY:
        return Section(
            "peaks", title, f"Best epochs are described once {EARLY} runs are finished; there are {len(runs)}."
        )
    peaks = np.array([t.best_epoch for t in runs])
    top = best_quarter(runs)
    figures = [
        Figure(
            "Finished runs by the epoch of their best score, the best quarter by score dark. Pruned runs are not "
            "counted: they ended before their best epoch was known.",
            _histogram(study, runs, top),
            "selection",
            title="Best epochs",
            half=True,
        ),
        Figure(
            "Each finished run's best score over the epoch at which it was reached.",
            _scatter(study, runs),
            "selection",
            title="Score by best epoch",
            half=True,
        ),
    ]
    lines = [_limits(runs), _targets(runs, study.schema.targets[:2])]
    return Section(
        "peaks",
        title,
        " ".join(filter(None, lines)),
        figures,
        [_by_kind(study, runs)],
        _peak_finding(study, peaks, top),
    )


def best_quarter(runs: Sequence[Trial]) -> list[Trial]:
    """The quarter of the runs with the highest scores, at least three of them."""
    return sorted(runs, key=lambda t: -(t.value or 0.0))[: max(3, round(len(runs) / 4))]


def _histogram(study: Study, runs: Sequence[Trial], top: Sequence[Trial]) -> Spec:
    chosen = {t.number for t in top}
    longest = max(t.epochs for t in runs)
    epochs = list(range(longest))
    traces = []
    for name, color, inside in (("best quarter", COMPLETE, True), ("other finished runs", "#b9d2ea", False)):
        counts = np.bincount([t.best_epoch or 0 for t in runs if (t.number in chosen) is inside], minlength=longest)
        traces.append(
            {"type": "bar", "name": name, "x": epochs, "y": counts[:longest].tolist(), "marker": {"color": color}}
        )
    spec = figure(traces, height=300, x=axis("best epoch (from 0)"), y=axis("runs"), barmode="stack", bargap=0.1)
    if study.spec.pruner.name != "none":
        with_rules(spec, rule(study.spec.pruner.warmup_epochs - 0.5, "warm-up ends"))
    return spec


def _scatter(study: Study, runs: Sequence[Trial]) -> Spec:
    names = [name for name in ("architecture", "loss", "scheduler") if name in study.searched]
    kinds: dict[str, list[Trial]] = {}
    for trial in runs:
        kinds.setdefault(str(trial.configuration.get(names[0], "")) if names else "finished", []).append(trial)
    chosen = study.searched.get(names[0]) if names else None
    order = [str(v) for v in (chosen.values() or ())] if chosen is not None else []
    kinds = {k: kinds[k] for k in sorted(kinds, key=lambda k: order.index(k) if k in order else len(order))}
    colors = dict(zip(kinds, (COMPLETE, PRUNED, REPLICATE, "#7b4fa3", "#8a6d3b", "#3b8ea5"), strict=False))
    traces = []
    for kind, members in kinds.items():
        dots = points(
            [t.best_epoch for t in members], [t.value for t in members], named(kind), colors.get(kind, COMPLETE)
        )
        hover = [f"trial {t.number}" for t in members]
        traces.append({**dots, "text": hover, "hovertemplate": "%{text}: epoch %{x}, %{y:.4f}<extra></extra>"})
    return figure(traces, height=300, x=axis("best epoch (from 0)"), y=axis("score"))


def cut_off(runs: Sequence[Trial]) -> list[Trial]:
    """Finished runs that reached a best score in one of their last two epochs when the epoch limit ended them."""
    ended = [t for t in runs if t.reason == "epochs" and t.best_epoch is not None]
    return [t for t in ended if (t.best_epoch or 0) >= t.epochs - 2]


def _limits(runs: Sequence[Trial]) -> str:
    late = cut_off(runs)
    if not late:
        return "No finished run was ended by the epoch limit while it was still gaining."
    return (
        f"{len(late)} of {plural(len(runs), 'finished run')} reached their best score in one of the last two epochs "
        "before the epoch limit ended them: with more epochs they might have gone on."
    )


def _targets(runs: Sequence[Trial], targets: Sequence[str]) -> str:
    """When the first two targets are best; nothing where there is one."""
    if len(targets) < 2:
        return ""
    pairs = [(_argmax(t, targets[0]), _argmax(t, targets[1])) for t in runs]
    known = np.array([(a, b) for a, b in pairs if a is not None and b is not None], dtype=float)
    if len(known) < EARLY:
        return ""
    first, second = np.median(known, axis=0)
    return f"In the median {targets[0]} is best at epoch {first:g} and {targets[1]} at epoch {second:g}."


def _argmax(trial: Trial, target: str) -> int | None:
    values = [r.get(target) for r in trial.history]
    known = [v if isinstance(v, float) and np.isfinite(v) else -np.inf for v in values]
    return int(np.argmax(known)) if known and max(known) > -np.inf else None


def _by_kind(study: Study, runs: Sequence[Trial]) -> PageTable:
    """Best epochs by the values of the parameters that a peak depends on most."""
    rows: list[list[Any]] = []
    for factor in factors({name: p for name, p in study.searched.items() if name in MOVING}, runs):
        name = factor.name
        for level, label in enumerate(factor.labels):
            members = [t for t, own in zip(runs, factor.index, strict=True) if own == level]
            if not members:
                continue
            peaks = [t.best_epoch or 0 for t in members]
            low, middle, high = np.quantile(peaks, [0.1, 0.5, 0.9])
            best = max(t.value or 0.0 for t in members)
            rows.append([name, label, len(members), float(middle), float(low), float(high), best])
    columns = ["parameter", "value", "runs", "median_peak", "tenth_before", "tenth_after", "best_score"]
    return PageTable("best_epochs", columns, rows, "Best epochs by parameter", 60, folded=True, sequences="selection")


def _peak_finding(study: Study, peaks: np.ndarray, top: Sequence[Trial]) -> str:
    late = cut_off(top)
    if len(late) > len(top) / 2:
        return (
            f"{len(late)} of the best {plural(len(top), 'finished run')} were still gaining when the epoch limit ended "
            "them: give the next study more epochs before anything else is concluded."
        )
    low, high = np.quantile(peaks, [0.1, 0.9])
    best = np.array([t.best_epoch for t in top])
    words = (
        f"Four of five finished runs peak between epochs {low:.0f} and {high:.0f}; the best quarter at epoch "
        f"{np.median(best):.0f} in the median"
    )
    warmup = study.spec.pruner.warmup_epochs
    if study.spec.pruner.name == "none":
        return words + "."
    before = float((best < warmup).mean())
    return (
        words
        + f", {share(before) if before else 'none'} of it within the pruner's warm-up of {plural(warmup, 'epoch')}."
    )
