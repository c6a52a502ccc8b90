"""Reasons of failures, their counts, and what the failed trials have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.report.factors import usable
from search.report.numbers import ranks
from search.report.page import Figure, PageTable, Section
from search.report.record import Study, Trial, hours
from search.report.style import FAILED, axis, bars, figure, plural, safe, share

LEAST = 4  # failures of one kind that are needed to name what they share
TELLING = 0.75  # chance that a failed trial has the larger (or smaller) value of two
SHOWN = 12


@dataclass(frozen=True)
class Failure:
    """One kind of failure: the reason without its numbers, and its trials."""

    reason: str
    example: str
    trials: tuple[Trial, ...]
    shared: str  # what sets these trials apart, or nothing


def failures(study: Study) -> list[Failure]:
    """Kinds of failure, the most frequent first; replicates included."""
    groups: dict[str, list[Trial]] = {}
    for trial in [*study.trials, *study.replicates]:
        if trial.state == "failed":
            groups.setdefault(_kind(trial.reason), []).append(trial)
    found = [Failure(kind, own[0].reason, tuple(own), _shared(study, own)) for kind, own in groups.items()]
    return sorted(found, key=lambda failure: -len(failure.trials))


def _kind(reason: str) -> str:
    """The reason with its numbers, addresses and names of machines left out, so that equal causes count together."""
    if not reason:
        return "no reason recorded"
    text = re.sub(r"\b[\w.-]+:\d+\b", "…", reason.splitlines()[0])
    text = re.sub(r"[-+]?\d[\d.,e+-]*", "…", text)
    return text[:120]


def _shared(study: Study, failed: Sequence[Trial]) -> str:
    """The parameter whose values separate these trials best from those that did not fail, in words."""
    others = study.scored
    if len(failed) < LEAST or len(others) < LEAST:
        return ""
    best: tuple[float, str] = (TELLING, "")
    for name, parameter in study.searched.items():
        mine, theirs = ([usable(parameter, t.configuration.get(name)) for t in group] for group in (failed, others))
        a, b = ([v for v in values if v is not None] for values in (mine, theirs))
        if len(a) < LEAST or len(b) < LEAST:
            continue
        found = _words(name, a, b)
        if found[0] > best[0]:
            best = found
    return best[1]


def _words(name: str, a: Sequence[Any], b: Sequence[Any]) -> tuple[float, str]:
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (*a, *b)):
        order = ranks(np.array([*a, *b], dtype=float))
        larger = (order[: len(a)].mean() - (len(a) - 1) / 2) / len(b)
        side = "high" if larger > 0.5 else "low"
        words = f"{side} {name} (median {np.median(a):.2g}, others {np.median(b):.2g})"
        return max(larger, 1 - larger), words
    value = max(set(a), key=list(a).count)
    mine, theirs = list(a).count(value) / len(a), list(b).count(value) / len(b)
    return 0.5 + (mine - theirs) / 2, f"{name}={value} in {share(mine)} of them, {share(theirs)} of the others"


def section(study: Study) -> Section:
    """Reasons with their counts."""
    title = "Failures"
    found = failures(study)
    ended = [t for t in (*study.trials, *study.replicates) if t.state in ("complete", "pruned", "failed")]
    if not found:
        none = "No trial has ended yet." if not ended else f"None of {plural(len(ended), 'trial')} failed."
        return Section("failures", title, none)
    failed = [t for failure in found for t in failure.trials]
    lost = hours(failed)
    text = f"{len(failed)} of {plural(len(ended), 'trial')} failed; they took {study.duration(lost)}."
    rows = [
        [f.reason, len(f.trials), f.shared or None, ", ".join(_name(study, t) for t in f.trials[:5]), f.example]
        for f in found
    ]
    table = PageTable("failures", ["reason", "trials", "set apart by", "first ones", "example"], rows, "Reasons", SHOWN)
    common = found[0]
    words = f" (set apart by {common.shared})" if common.shared else ""
    finding = ""
    if len(failed) / len(ended) > 0.03:
        finding = (
            f"{share(len(failed) / len(ended))} of the trials failed, most often: {common.reason.rstrip('.')}{words}."
        )
    shown = found[:SHOWN]
    labels = [safe(_short(f.reason)) for f in shown]
    trace = bars([len(f.trials) for f in shown], labels, "failed", FAILED, orientation="h")
    spec = figure(
        [trace],
        height=70 + 34 * len(shown),
        x=axis("trials", rangemode="tozero", **({"dtick": 1} if len(common.trials) <= 10 else {})),
        y=axis("", autorange="reversed", ticks=""),
        bargap=0.4,
    )
    return Section("failures", title, text, [Figure("Failed trials by reason.", spec)], [table], finding)


def _short(reason: str) -> str:
    return reason if len(reason) <= 34 else reason[:33] + "…"


def _name(study: Study, trial: Trial) -> str:
    return str(trial.number) if trial.study == study.name else f"{trial.study}#{trial.number}"
