"""Scores the ensemble that could be shipped now, and a ridge regression, on the study's sequences, and stores both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState

from lobmodels.bootstrap import sequence_statistics
from lobmodels.data import Dataset, load_dataset
from lobmodels.ensemble import blend
from lobmodels.metric import metric_of
from search.ship.gains import Predictions
from search.ship.members import Choice, choose, load_members
from search.ship.validation import Validation, validate
from search.study.create import bind_data
from search.study.open import spec_of
from search.study.plugins import require_code
from search.study.record import ENSEMBLE, RIDGE
from search.study.reference import Reference, References, score_ridge, store_reference
from search.study.replication import find_replicates
from search.study.runs import Run, finished_runs
from storage.errors import DatabaseReadOnly


def score_references(study: optuna.Study, data: Path, progress: Callable[[int, int], None] | None = None) -> References:
    """Score a ridge regression once, and the uniform ensemble that `lobtuna export` would choose whenever its members
    have changed, and store both. No ensemble is scored where no run is complete or the metric is no correlation.

    A database that may not be written, such as an archive, keeps what it has: `stored` is False then. (A proxy
    does not say why it cannot write: behind one that is an outage.)

    Raises `SearchError` for other data than the study's, and where its plugins were not run here; `DataError` for data
    that cannot be read.
    """
    require_code(study)
    dataset = load_dataset(data)
    bind_data(study, dataset.fingerprint)
    known = References.read(study.user_attrs)
    ridge = known.ridge or score_ridge(dataset, spec_of(study).validation)
    ensemble = None
    if finished_runs(study) and metric_of(dataset.schema).correlates:
        ensemble = _scored(study, dataset, data, known.ensemble, progress)
    try:
        for name, was, now in ((RIDGE, known.ridge, ridge), (ENSEMBLE, known.ensemble, ensemble)):
            if now is not None and now != was:
                store_reference(study, name, now)
    except DatabaseReadOnly:
        return References(ridge, ensemble, stored=False)
    return References(ridge, ensemble)


def _scored(
    study: optuna.Study,
    dataset: Dataset,
    data: Path,
    known: Reference | None,
    progress: Callable[[int, int], None] | None,
) -> Reference:
    """The ensemble's scores: those that are known, where its members are the same."""
    runs = choose(study, Choice(), Predictions(dataset.valid).correlations)
    if known is not None and known.members == tuple(run.name for run in runs):
        return replace(known, runs=_complete(study))
    names, sums, found = _ensemble(study, runs, data, progress)
    return Reference.of(sums, found.select, found.report, names, _complete(study))


def _complete(study: optuna.Study) -> int:
    """Complete runs of the study and its replicates."""
    parts = [part for part in (study, find_replicates(study)) if part is not None]
    return sum(len(part.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) for part in parts)


def ensemble_sums(
    study: optuna.Study, data: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Sums (n, 6, targets) of the ensemble on each part of the validation sequences; empty where no run is complete.

    Scores the references as well. Raises as `score_references` does.
    """
    ensemble = score_references(study, data, progress).ensemble
    if ensemble is None:
        return {}
    _, sums, found = _ensemble(study, choose(study, Choice(members=ensemble.members)), data, progress)
    return {"select": sums[found.select], "report": sums[found.report]}


def _ensemble(
    study: optuna.Study, runs: Sequence[Run], data: Path, progress: Callable[[int, int], None] | None
) -> tuple[tuple[str, ...], NDArray[np.float64], Validation]:
    """Names of the members, and the sums (N, 6, targets) of their uniform average on all validation sequences."""
    found = validate(load_members(study, runs), data, progress)
    blended = found.blended(
        found.members, blend.uniform(len(found.members), len(found.schema.targets)), found.parts["all"]
    )
    return tuple(run.name for run in runs), sequence_statistics(blended, found.targets, found.schema), found
