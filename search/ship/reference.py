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
from lobmodels.data import load_dataset
from lobmodels.ensemble import blend
from lobmodels.metric import metric_of
from search.ship.gains import Predictions
from search.ship.members import Choice, choose, load_members
from search.ship.validation import Validation, validate
from search.study.create import bind_data
from search.study.open import spec_of
from search.study.plugins import require_code
from search.study.record import ENSEMBLE
from search.study.reference import Reference, ensure_ridge, read_reference, store_reference
from search.study.replication import find_replicates
from search.study.runs import Run, finished_runs


def score_references(
    study: optuna.Study, data: Path, progress: Callable[[int, int], None] | None = None
) -> Reference | None:
    """Score a ridge regression once, and the uniform ensemble that `lobtuna export` would choose whenever its members
    have changed; returns the ensemble, None where no run is complete
    or the metric is no correlation.

    Raises `SearchError` for other data than the study's, and where its plugins were not run here; `DataError` for data
    that cannot be read.
    """
    require_code(study)
    dataset = load_dataset(data)
    bind_data(study, dataset.fingerprint)
    ensure_ridge(study, dataset, spec_of(study).validation)
    if not finished_runs(study) or not metric_of(dataset.schema).correlates:
        return None
    runs = choose(study, Choice(), Predictions(dataset.valid).correlations)
    names = tuple(run.name for run in runs)
    known, complete = read_reference(study.user_attrs, ENSEMBLE), _complete(study)
    if known is not None and known.members == names:
        reference = replace(known, runs=complete)
    else:
        names, sums, found = _ensemble(study, runs, data, progress)
        reference = Reference.of(sums, found.select, found.report, names, complete)
    if reference != known:
        store_reference(study, ENSEMBLE, reference)
    return reference


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
    reference = score_references(study, data, progress)
    if reference is None:
        return {}
    _, sums, found = _ensemble(study, choose(study, Choice(members=reference.members)), data, progress)
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
