"""Compares studies: best configurations, ensembles, and what each had found after equal hours and equal epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import optuna
from numpy.typing import NDArray

from lobmodels.bootstrap import Difference, paired_difference
from search.errors import SearchError
from search.report.headline import headline, why_unscored
from search.report.page import PageTable
from search.report.progress import in_order
from search.report.record import Study, Trial, read_study
from search.report.style import plural
from search.study.reference import Score
from search.study.resampling import stored_sums
from search.study.runs import run_of

Floats = NDArray[np.float64]
SHARES = (0.25, 0.5, 1.0)  # of what the study that spent least has spent
UNITS = ("hours", "epochs")
COLUMNS = (
    "measure",
    "study",
    "what",
    "select",
    "select_low",
    "select_high",
    "report",
    "report_low",
    "report_high",
    "difference",
    "low",
    "high",
    "better_in",
)


@dataclass(frozen=True)
class Entry:
    """One study by one measure. `difference` is to the first study, None for itself and where runs cannot be paired."""

    measure: str
    study: str
    what: str
    select: Score | None
    report: Score | None
    difference: Difference | None


@dataclass(frozen=True)
class Comparison:
    """Studies side by side. `on` are the sequences of the differences: report where every study set some aside."""

    studies: tuple[Study, ...]
    entries: tuple[Entry, ...]
    on: str
    remarks: tuple[str, ...]

    @property
    def first(self) -> str:
        """The study that the others are compared with."""
        return self.studies[0].name

    def table(self) -> PageTable:
        """Every entry, unrounded."""
        rows = [[e.measure, e.study, e.what, *_ends(e.select), *_ends(e.report), *_gap(e)] for e in self.entries]
        return PageTable("comparison", COLUMNS, rows, on_page=False)


def _ends(score: Score | None) -> list[float | None]:
    return [None] * 3 if score is None else [score.value, score.low, score.high]


def _gap(entry: Entry) -> list[float | None]:
    d = entry.difference
    return [None] * 4 if d is None else [d.value, d.low, d.high, d.better]


@dataclass(frozen=True)
class Path:
    """What a study had spent, and its best finished run, after each trial that ended."""

    study: Study

    @cached_property
    def ended(self) -> list[Trial]:
        """Trials that ended, in that order, without those that another study has paid for."""
        return [trial for trial in in_order(self.study) if trial.imported is None]

    def spent(self, unit: str) -> Floats:
        """Hours or epochs (n,) spent up to and including each of them."""
        each = [trial.seconds / 3600 if unit == "hours" else float(trial.epochs) for trial in self.ended]
        return np.cumsum(each)

    def best_after(self, unit: str, amount: float) -> Trial | None:
        """The best run that had finished within so many hours or epochs."""
        within = [t for t, s in zip(self.ended, self.spent(unit), strict=True) if s <= amount * (1 + 1e-9)]
        finished = [t for t in within if t.state == "complete" and t.value is not None]
        return max(finished, key=lambda trial: (trial.value, -trial.number), default=None)


def compare(sources: Sequence[optuna.Study], ensembles: Mapping[str, Mapping[str, Floats]] | None = None) -> Comparison:
    """Compare studies with the first of them.

    `ensembles` holds the sums (N, 6, targets) of each study's ensemble by study and part of validation, where they
    were computed. Raises `SearchError` where fewer than two different studies are given.
    """
    if len({source.study_name for source in sources}) < 2 or len({s.study_name for s in sources}) < len(sources):
        raise SearchError("a comparison needs two or more different studies: lobtuna compare A B")
    studies = [read_study(source) for source in sources]
    same = len({(s.fingerprint, s.report_fraction) for s in studies}) == 1 and studies[0].fingerprint is not None
    on = "report" if all(s.report_fraction > 0 for s in studies) else "select"
    if on == "select" and any(s.spec.validation.count is not None for s in studies):
        same = False  # runs on different folds have selected on different sequences
    measured = _Measured(dict(zip([s.name for s in studies], sources, strict=True)), studies, on, same)
    entries = [*measured.best(), *measured.ensembles(ensembles or {}), *measured.spending()]
    return Comparison(tuple(studies), tuple(entries), on, tuple(_remarks(studies, entries, on, same)))


def _remarks(studies: Sequence[Study], entries: Sequence[Entry], on: str, same: bool) -> list[str]:
    where = "report sequences, which no decision has seen" if on == "report" else "selection sequences"
    found = [f"differences: 90 % intervals on the {where}; the same sequences are drawn again for both"]
    if not same:
        return ["no differences: the studies have other data, or set other sequences aside"]
    if not any(entry.difference for entry in entries):
        found = ["no differences: no run of every study has kept its sums by sequence"]
    single = [s.name for s in studies if s.ranking.rows and s.ranking.rows[0].n < 2]
    if single:
        found.append(f"the best of {' and '.join(single)} was run once: the luck of its seed is not in the intervals")
    return found


@dataclass(frozen=True)
class _Measured:
    sources: Mapping[str, optuna.Study]
    studies: Sequence[Study]
    on: str
    same: bool  # whether scores of different studies are on the same sequences

    def best(self) -> list[Entry]:
        """The first configuration of each ranking, by all its runs."""
        rows = [(s, headline(s).rows[0]) for s in self.studies]
        sums = [[parts[self.on] for parts in s.sums.values() if self.on in parts] for s in self.studies]
        return [
            Entry("best", s.name, row.what, row.select, row.report, self._difference(own, sums[0], s))
            for (s, row), own in zip(rows, sums, strict=True)
        ]

    def ensembles(self, known: Mapping[str, Mapping[str, Floats]]) -> list[Entry]:
        """The ensemble of each study that was scored last; differences where all were computed anew."""
        entries = []
        for study in self.studies:
            scored = study.ensemble
            if scored is None:
                entries.append(Entry("ensemble", study.name, why_unscored(study, "give --data"), None, None, None))
                continue
            own, first = ([known[n][self.on]] if n in known else [] for n in (study.name, self.studies[0].name))
            difference = self._difference(own, first, study)
            what = f"uniform average of {plural(len(scored.members), 'run')}"
            entries.append(Entry("ensemble", study.name, what, scored.select, scored.report, difference))
        return entries

    def spending(self) -> list[Entry]:
        """The best run of each study after equal parts of what the study that spent least has spent."""
        paths = [Path(study) for study in self.studies]
        entries = []
        for unit in UNITS:
            least = min(float(path.spent(unit)[-1]) if path.ended else 0.0 for path in paths)
            for share in SHARES if least > 0 else ():
                entries += self._after(paths, unit, least * share)
        return entries

    def _after(self, paths: Sequence[Path], unit: str, amount: float) -> list[Entry]:
        measure = f"after {amount:.2f} hours" if unit == "hours" else f"after {amount:,.0f} epochs"
        runs = [path.best_after(unit, amount) for path in paths]
        sums = [self._sums(path.study, run) for path, run in zip(paths, runs, strict=True)]
        entries = []
        for path, run, own in zip(paths, runs, sums, strict=True):
            select = None if run is None or run.value is None else Score(run.value)
            report = Score(run.report["mean"]) if run is not None and "mean" in run.report else None
            what = "no run had finished" if run is None else f"trial {run.number}"
            difference = self._difference(own, sums[0], path.study)
            entries.append(Entry(measure, path.study.name, what, select, report, difference))
        return entries

    def _sums(self, study: Study, trial: Trial | None) -> list[Floats]:
        run = None if trial is None else run_of(trial)
        return [] if run is None else list(stored_sums(self.sources, [run], self.on).values())

    def _difference(self, own: Sequence[Floats], first: Sequence[Floats], study: Study) -> Difference | None:
        if study is self.studies[0] or not (self.same and own and first and own[0].shape == first[0].shape):
            return None
        return paired_difference(own, first)
