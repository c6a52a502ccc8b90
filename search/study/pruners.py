"""Builds the pruner that a study file names.

To add one: write a function of the spec, here or in a file of its own, name it in `PRUNERS`, and add the name to
`PrunerSpec.name`. A test compares the two lists and builds every choice.
"""

from __future__ import annotations

from collections.abc import Callable

from optuna.pruners import BasePruner, NopPruner, PatientPruner, PercentilePruner

from search.errors import SearchError
from search.study.curve_pruner import CurvePruner, build_curve_pruner
from search.study.halving import HalvingPruner, build_halving
from search.study.quiet import without_experimental_warning
from search.studyfile.spec import StudySpec
from storage.wanted import ENDED_ALONE, EVERY_STEP, WantedReports


def build_pruner(spec: StudySpec) -> BasePruner:
    """The study's pruner. Raises `SearchError` for a name that is not registered."""
    if spec.pruner.name not in PRUNERS:
        raise SearchError(f"pruner {spec.pruner.name!r} is not known to this lobtuna: known are {', '.join(PRUNERS)}")
    return PRUNERS[spec.pruner.name](spec)


def wanted_reports(spec: StudySpec) -> WantedReports:
    """What a worker reads of the others' trials. Halving compares the scores until its last rung, of running trials as
    well; a second look forecasts from whole curves."""
    pruner = build_pruner(spec)
    if not isinstance(pruner, HalvingPruner):
        return ENDED_ALONE
    last = max(pruner.rungs, default=0)
    return WantedReports(running=last, ended=EVERY_STEP if spec.second_look.share else last)


def needs_news(pruner: BasePruner, epochs: int, due: bool) -> bool:
    """Whether to read the other workers' trials after so many epochs. A pruner that judges after few epochs needs them
    there and nowhere else, any other whenever a read is `due`."""
    if isinstance(pruner, HalvingPruner):
        return epochs in pruner.rungs
    if isinstance(pruner, CurvePruner):
        return epochs in pruner.looks
    return due


def _none(spec: StudySpec) -> BasePruner:
    return NopPruner()


def _median(spec: StudySpec) -> BasePruner:
    return _compare_with_finished(spec, 50.0)


def _percentile(spec: StudySpec) -> BasePruner:
    assert spec.pruner.percentile is not None  # PrunerSpec requires it with this name
    return _compare_with_finished(spec, spec.pruner.percentile)


def _compare_with_finished(spec: StudySpec, percentile: float) -> BasePruner:
    """Prune a run that is not among the best `percentile` percent of the finished runs at the epoch it has reached.

    Only finished runs that got as far count. Half of `startup_trials` of them are needed at that epoch, because
    runs that stopped early do not reach the late ones. With `patience`, a run that still improves is never pruned.
    """
    terms = spec.pruner
    pruner = PercentilePruner(
        percentile,
        n_startup_trials=terms.startup_trials,
        n_warmup_steps=terms.warmup_epochs,
        n_min_trials=max(1, terms.startup_trials // 2),
    )
    if not terms.patience:
        return pruner
    with without_experimental_warning():
        return PatientPruner(pruner, terms.patience)


PRUNERS: dict[str, Callable[[StudySpec], BasePruner]] = {
    "halving": build_halving,
    "curve": build_curve_pruner,
    "median": _median,
    "percentile": _percentile,
    "none": _none,
}
