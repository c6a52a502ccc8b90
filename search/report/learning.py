"""Learning curves and the epochs of their best scores, from which a pruner's warm-up and an epoch limit are set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    faded,
    figure,
    line,
    named,
    plural,
    points,
    rule,
    safe,
    share,
    with_rules,
)

MOST = 120  # curves of a kind: with more, single ones cannot be seen
# What the place of the best epoch depends on most.
MOVING = ("architecture", "hidden_size", "num_layers", "lr", "batch_size", "scheduler", "loss")
EARLY = 3  # finished runs needed to describe their best epochs


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
    if losses is not None:
        caption = (
            "Training loss against the score after the same epoch, of the ten best finished runs: where a line bends "
            "back, the run goes on fitting the training sequences and no longer gains."
        )
        figures.append(Figure(caption, losses, "selection", title="Fitting against scoring", half=True))
    return Section("curves", title, "", figures)


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


def peaks_section(study: Study) -> Section:
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
