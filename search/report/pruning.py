"""What pruning saved, and what it may have cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.report.numbers import spearman
from search.report.page import Figure, PageTable, Section
from search.report.record import Study, Trial, hours
from search.report.style import (
    COMPLETE,
    FAILED,
    PRUNED,
    Spec,
    axis,
    bars,
    figure,
    line,
    plural,
    rule,
    share,
    with_rules,
)

LEAST = 8  # finished runs needed to show how early a score predicts the final one
TOP = 0.1


@dataclass(frozen=True)
class Savings:
    """What the pruned runs took, and what they would still have taken.

    Each is taken to have gone on to the median length of the finished runs that got further.
    """

    pruned: int
    epochs_run: int
    epochs_saved: float
    hours_run: float
    hours_saved: float


def savings(study: Study) -> Savings | None:
    """Epochs and hours not spent on pruned runs; None where none was pruned or none finished."""
    pruned = [t for t in study.of("pruned") if t.epochs]
    lengths = np.array([t.epochs for t in study.of("complete") if t.epochs])
    if not pruned or not len(lengths):
        return None
    epochs, seconds = 0.0, 0.0
    for trial in pruned:
        later = lengths[lengths > trial.epochs]
        left = float(np.median(later)) - trial.epochs if len(later) else 0.0
        epochs += left
        seconds += left * (trial.seconds / trial.epochs)
    own = sum(t.epochs for t in pruned)
    return Savings(len(pruned), own, epochs, hours(pruned), seconds / 3600)


@dataclass(frozen=True)
class Foresight:
    """After each epoch: how well the best score so far orders the finished runs as their final score does, and the
    share of the later best tenth that lies below the median at that moment."""

    epochs: list[int]
    order: list[float]
    best_below_median: list[float]
    runs: int


def foresight(study: Study) -> Foresight | None:
    """How early finished runs could be told apart; None where there are too few."""
    runs = [t for t in study.finished if t.epochs]
    if len(runs) < LEAST:
        return None
    final = np.array([t.value or 0.0 for t in runs])
    top = final >= np.quantile(final, 1 - TOP)
    longest = int(np.quantile([t.epochs for t in runs], 0.9))
    so_far = np.array([_padded(t, longest) for t in runs])  # (runs, epochs)
    order = [spearman(so_far[:, e], final) for e in range(longest)]
    below = [float((so_far[top, e] < np.median(so_far[:, e])).mean()) for e in range(longest)]
    return Foresight(list(range(longest)), order, below, len(runs))


def _padded(trial: Trial, length: int) -> list[float]:
    values = trial.best_so_far[:length]
    return values + [values[-1]] * (length - len(values))


def section(study: Study) -> Section:
    """Savings, when runs were pruned, and how early a score predicts the final one."""
    title = "Pruning"
    if study.spec.pruner.name == "none":
        return Section("pruning", title, "This study does not prune.")
    found, sight = savings(study), foresight(study)
    figures = []
    if study.of("pruned"):
        text = (
            f"Epochs at which runs were pruned; every run is given {plural(study.spec.pruner.warmup_epochs, 'epoch')}."
        )
        figures.append(Figure(text, _when(study), title="When runs were pruned", half=True))
    if sight is not None:
        text = (
            "Blue: rank correlation of the best score so far with the final one. Red: share of the later best tenth "
            "that lies below the median after that epoch, and that a median pruner would end there. Only runs that "
            "finished can be counted, so the truth for all runs is somewhat worse."
        )
        figures.append(
            Figure(text, _sight(study, sight), "selection", title="How early a score predicts the final one", half=True)
        )
    tables = [] if sight is None else [_table(sight)]
    if found is None:
        reason = "No run was pruned" if not study.of("pruned") else "No run is complete, so the saving is not known"
        return Section("pruning", title, f"{reason}.", figures, tables)
    text = (
        f"{plural(found.pruned, 'run')} ended after {found.epochs_run:,} epochs ({study.duration(found.hours_run)}); "
        "finished runs that got as far went on, in the median, for a further "
        f"{found.epochs_saved / found.pruned:.0f} epochs."
    )
    return Section("pruning", title, text, figures, tables, _finding(study, found, sight))


def _finding(study: Study, found: Savings, sight: Foresight | None) -> str:
    total = found.hours_saved + hours(study.of("complete", "pruned", "failed"))
    words = (
        f"Pruning saved about {study.duration(found.hours_saved)}, "
        f"{share(found.hours_saved / total if total else 0)} of what the same trials would have taken"
    )
    risk = _risk(study, sight)
    return words + (f"; {risk}." if risk else ".")


def _risk(study: Study, sight: Foresight | None) -> str:
    warmup = study.spec.pruner.warmup_epochs
    if sight is None or warmup >= len(sight.epochs):
        return ""
    lost = sight.best_below_median[warmup]
    words = share(lost) if lost else "none"
    return f"at the end of the warm-up {words} of the later best tenth still lay below the median"


def _when(study: Study) -> Spec:
    at = [t.epochs - 1 for t in study.of("pruned") if t.epochs]
    counts = np.bincount(at, minlength=1)
    first = int(np.flatnonzero(counts)[0]) if counts.any() else 0
    epochs = list(range(max(0, first - 1), len(counts)))
    trace = bars(epochs, counts[epochs].tolist(), "pruned", PRUNED)
    return figure([trace], height=300, x=axis("epoch (from 0)"), y=axis("runs pruned"), bargap=0.1)


def _sight(study: Study, sight: Foresight) -> Spec:
    traces = [
        line(sight.epochs, sight.order, "order known", COMPLETE),
        line(sight.epochs, sight.best_below_median, "later best below median", FAILED),
    ]
    spec = figure(traces, height=300, x=axis("epoch (from 0)"), y=axis("", range=[-0.02, 1.02]))
    return with_rules(spec, rule(study.spec.pruner.warmup_epochs, "warm-up ends"))


def _table(sight: Foresight) -> PageTable:
    rows: Sequence[Sequence[float]] = list(zip(sight.epochs, sight.order, sight.best_below_median, strict=True))
    return PageTable("foresight", ["epoch", "rank_correlation", "later_best_below_median"], rows, on_page=False)
