"""What a replicate is asked for beyond its configuration: the seed and fold of a run, or the terms of a refit."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from search.errors import SearchError
from search.studyfile.spec import StudySpec

Cell = tuple[int, int | None]  # seed and fold of a replicate; no fold with the fixed split
FIRST_SEED = 1_000_000  # above the study's base seed: search trials, numbered from 0, never reach it
NO_FOLDS = "--folds: study {name!r} has the fixed split; write validation: {{folds: 5}} in a new study's file"


@dataclass(frozen=True)
class Plan:
    """What `--auto` asked for: which configurations, how many replicates in all, and from which seeds on."""

    keys: tuple[str, ...]
    runs: int

    def to_json(self) -> dict[str, Any]:
        return {"keys": list(self.keys), "runs": self.runs}

    @staticmethod
    def from_json(document: dict[str, Any]) -> Plan:
        return Plan(tuple(document["keys"]), int(document["runs"]))


@dataclass(frozen=True)
class EarlierRun:
    """What a refit is told about a validated run of its configuration."""

    fold: int | None
    best: int  # epochs up to the best one, that one included
    rates: tuple[float, ...] = ()  # learning rate by epoch, where the schedule follows scores
    by_target: tuple[int, ...] = ()  # epochs up to the best one of each target, where each has its own


@dataclass(frozen=True)
class RefitOrder:
    """What is to be trained on all sequences: for how long the earlier runs say, and what they promise."""

    runs: tuple[EarlierRun, ...]
    promised: float  # score of the configuration on sequences held out; the refit itself is not validated
    with_report: bool = False  # whether the report sequences are trained on as well

    @property
    def epochs(self) -> float:
        """Epochs of the earlier runs that the refit takes the steps of: up to the best one, in the median; where each
        target has its own, of the target that needs most."""
        return max(median(bests) for bests in zip(*(run.by_target or (run.best,) for run in self.runs), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        own = [[list(run.by_target)] if run.by_target else [] for run in self.runs]
        runs = [[run.fold, run.best, list(run.rates), *more] for run, more in zip(self.runs, own, strict=True)]
        return {"runs": runs, "promised": self.promised, "with_report": self.with_report}

    @staticmethod
    def from_json(document: Any) -> RefitOrder | None:
        """What `to_json` made; None for anything else."""
        try:
            runs = (EarlierRun(fold, int(best), *map(tuple, more)) for fold, best, *more in document["runs"])
            return RefitOrder(tuple(runs), float(document["promised"]), bool(document["with_report"]))
        except (TypeError, KeyError, ValueError):
            return None


def seed_list(spec: StudySpec, count: int) -> list[int]:
    """The first `count` seeds of replicates: the same for every configuration of the study."""
    return [spec.seed + FIRST_SEED + i for i in range(count)]


def cells(spec: StudySpec, seeds: int, folds: int = 1) -> list[Cell]:
    """Seeds and folds of a configuration's replicates, so that with the search's own run it has `seeds` runs on each
    of `folds` folds: a new fold before a second run on one.

    Each has a seed of its own. Networks that start from the same weights predict more alike, also when they are trained
    on different folds (.89 instead of .83 on real_lob, docs/selection-proof.md), and an average gains less from them.
    """
    count = spec.validation.count
    if count is None:
        return [(seed, None) for seed in seed_list(spec, seeds)[:-1]]
    first, *others = range(folds)
    listed = seed_list(spec, seeds * count)
    ordered = [(turn, fold) for turn in range(seeds) for fold in (*others, first)][:-1]
    return [(listed[turn * count + (fold - 1) % count], fold) for turn, fold in ordered]


def require_folds(spec: StudySpec, seeds: int, folds: int) -> None:
    """Raise `SearchError` where the study has fewer folds, or `seeds` runs on each of `folds` add none."""
    count = spec.validation.count
    if folds > 1 and count is None:
        raise SearchError(NO_FOLDS.format(name=spec.name))
    if folds > (count or 1):
        raise SearchError(f"--folds {folds} is more than the {count} folds of study {spec.name!r}; --folds all")
    if seeds * folds < 2:
        raise SearchError(f"--seeds {seeds} adds no run: the search's own run counts as the first; use 2 or more")
