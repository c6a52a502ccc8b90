"""Which parameters decide whether a run is among the best: PED-ANOVA, with its uncertainty and what chance gives."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.report.numbers import LEVEL, SEED, Floats, interval
from search.report.page import Figure, PageTable, Section
from search.report.record import Study
from search.report.style import COMPLETE, SOFT, Spec, axis, figure, listed, safe, share
from storage.optuna_internals import trial_id_of

OR = ".or"  # suffix of the parameter that chooses between a range and its `or` values: see `studyfile.space.suggest`
LEAST = 40  # finished and pruned runs; with fewer, the best tenth is too few runs
TOP = 0.1
WORK = 24_000  # runs in all resamples together: keeps the time for 2,000 trials within seconds
CHANCE = 0.9  # quantile of what shuffled scores give


@dataclass(frozen=True)
class Importance:
    """Importance of each parameter as a share of all, largest first."""

    names: tuple[str, ...]
    values: Floats  # (P,)
    low: Floats
    high: Floats
    chance: Floats  # what a parameter reaches in one of ten studies in which none matters
    runs: int

    def beyond_chance(self) -> list[str]:
        """Parameters whose whole interval lies above chance."""
        return [name for name, low, chance in zip(self.names, self.low, self.chance, strict=True) if low > chance]


class _Runs:
    """The part of a study that PED-ANOVA reads, over any list of trials."""

    directions = (StudyDirection.MAXIMIZE,)

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        self._trials = list(trials)

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        return self._trials

    def _is_multi_objective(self) -> bool:
        return False


def importance(study: Study) -> Importance | None:
    """PED-ANOVA over finished and pruned runs, resampled over runs; None where there are too few.

    A pruned run counts with its best score so far: all that matters is that it is not among the best tenth.
    """
    runs = study.scored
    names = list(study.searched)
    if len(runs) < LEAST or len(names) < 2 or len({t.value for t in runs}) < 3:
        return None
    trials = _interned([t.frozen for t in runs])
    values = np.array([float(t.value or 0.0) for t in runs])
    rng = np.random.default_rng(SEED)
    resamples = int(np.clip(WORK // len(runs), 12, 40))
    point = _importances(trials, values, names)
    draws = [rng.integers(len(runs), size=len(runs)) for _ in range(resamples)]
    samples = np.array([_importances([trials[i] for i in draw], values[draw], names) for draw in draws])
    nothing = np.array([_importances(trials, rng.permutation(values), names) for _ in range(resamples)])
    # All in units of the whole, so that what chance gives can be compared with what was found. A resample holds runs
    # twice, which looks like structure: only its spread is used.
    total = float(point.sum()) or 1.0
    below, above = interval(samples)
    spread = (above - below) / 2
    chance = np.quantile(nothing, CHANCE, axis=0)
    order = np.argsort(-point)
    low, high = np.clip(point - spread, 0, None), point + spread
    point, low, high, chance = (part[order] / total for part in (point, low, high, chance))
    return Importance(tuple(names[i] for i in order), point, low, high, chance, len(runs))


def _interned(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials with one object for each distribution: PED-ANOVA sorts trials by it, over and over."""
    known: dict[BaseDistribution, BaseDistribution] = {}
    shared = []
    for trial in trials:
        twin = copy.copy(trial)
        twin.distributions = {name: known.setdefault(d, d) for name, d in trial.distributions.items()}
        shared.append(twin)
    return shared


def _importances(trials: Sequence[FrozenTrial], values: Floats, names: Sequence[str]) -> Floats:
    """Importance of each named parameter, including the importance of its `or` choice."""
    by_id = {trial_id_of(trial): -float(value) for trial, value in zip(trials, values, strict=True)}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # known: low targets are wanted here, and some regimes hold few trials
        runs: Any = _Runs(trials)
        found = evaluator.evaluate(runs, target=lambda trial: by_id[trial_id_of(trial)])
    return np.array([found.get(name, 0.0) + found.get(name + OR, 0.0) for name in names])


def section(study: Study, found: Importance | None) -> Section:
    """The section of the report."""
    title = "What matters"
    if found is None:
        text = (
            f"Parameter importance was not computed. It takes at least {LEAST} finished or pruned runs of different "
            f"score and two searched parameters; there are {len(study.scored)} such runs."
        )
        return Section("importance", title, text)
    sure = found.beyond_chance()
    finding = (
        f"{listed(sure[:4])} {'decides' if len(sure) == 1 else 'decide'} most whether a run is among the best tenth; "
        f"for {_rest(len(found.names) - len(sure))} the data do not show more than chance."
        if sure
        else "No single parameter was shown to decide whether a run is among the best: none stands out beyond chance."
    )
    text = (
        f"How differently each parameter is set in the best tenth of the {found.runs} finished and pruned runs than in "
        "all of them (PED-ANOVA), as a share of the sum over parameters. The search's own preferences are taken out: "
        "each parameter is compared with how often its values were tried."
    )
    return Section("importance", title, text, [_figure(found)], [_table(found)], finding)


def _rest(count: int) -> str:
    return "the other one" if count == 1 else f"the other {count}"


def _figure(found: Importance) -> Figure:
    names = [safe(name) for name in reversed(found.names)]
    chance = {
        "type": "scatter",
        "mode": "markers",
        "name": "by chance",
        "y": names,
        "x": [round(float(v), 5) for v in found.chance[::-1]],
        "marker": {"symbol": "line-ns-open", "size": 13, "color": "#b3261e", "line": {"width": 2}},
        "hovertemplate": "by chance: %{x:.2f}<extra></extra>",
    }
    spec = figure(
        [_bars(found, names), chance],
        height=90 + 24 * len(names),
        x=axis("share of importance", range=[0, min(1.0, float(max(found.high.max(), found.chance.max())) * 1.04)]),
        y=axis("", ticks="", showgrid=False, dtick=1),
        bargap=0.35,
    )
    text = (
        f"Bars: importance, with the {share(LEVEL)} interval over resampled runs. Red marks: what a parameter reaches "
        "in one of ten studies in which nothing matters (scores shuffled). A pale bar may be chance."
    )
    return Figure(text, spec, "selection")


def _bars(found: Importance, names: list[str]) -> Spec:
    """Importances with their intervals, least first; those that may be chance are pale."""
    values, low, high = (part[::-1] for part in (found.values, found.low, found.high))
    sure = set(found.beyond_chance())
    colors = [COMPLETE if name in sure else "#b9c6d3" for name in reversed(found.names)]
    return {
        "type": "bar",
        "orientation": "h",
        "name": f"importance, {share(LEVEL)} interval",
        "y": names,
        "x": [round(float(v), 5) for v in values],
        "marker": {"color": colors},
        "error_x": {
            "type": "data",
            "array": [round(float(v), 5) for v in high - values],
            "arrayminus": [round(float(v), 5) for v in values - low],
            "color": SOFT,
            "thickness": 1.2,
            "width": 3,
        },
        "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
    }


def _table(found: Importance) -> PageTable:
    sure = set(found.beyond_chance())
    rows = [
        [name, float(v), float(low), float(high), float(chance), name in sure]
        for name, v, low, high, chance in zip(
            found.names, found.values, found.low, found.high, found.chance, strict=True
        )
    ]
    columns = ["parameter", "importance", "low", "high", "by_chance", "beyond_chance"]
    return PageTable("importance", columns, rows, on_page=False)
