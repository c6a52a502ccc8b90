"""Begins a study from another one's best configurations: queued first, each with the parameters that fit.

They are run again, not copied: another study may have had other data, other epochs or another split, and scores of
different sequences cannot be compared. A parameter that the new space does not have, or not with this value, is left to
the sampler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna

from search.errors import SearchError
from search.study.open import existing_storage, load_study
from search.study.record import ORIGIN
from search.study.runs import Run, finished_runs
from search.studyfile.parameters import Fixed
from search.studyfile.space import optuna_params
from search.studyfile.spec import StudySpec
from storage.optuna_internals import storage_of
from storage.url import redact_url

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def queue_from(study: optuna.Study, spec: StudySpec) -> int:
    """Queue what the study file's `from` asks for, unless it was done before; returns how many.

    Raises `StudyNotFoundError`, or `SearchError` where the source has no complete run or none of its
    parameters fits.
    """
    started = any(ORIGIN in trial.user_attrs for trial in study.get_trials(deepcopy=False))
    if spec.source is None or started:  # the source need not be there any more when the study is opened again
        return 0
    storage = _storage(study, spec)
    source = load_study(storage, spec.source.study, redact_url(spec.source.url) if spec.source.url else "the database")
    found = [(run.name, fitting(spec, run.configuration)) for run in _best(source, spec.source.top)]
    usable = [(name, params) for name, params in found if params]
    if not usable:
        raise SearchError(
            f"no complete run of study {spec.source.study!r} has a parameter that study {spec.name!r} searches: "
            "remove 'from' from the study file, or name another study there"
        )
    for name, params in usable:
        study.enqueue_trial(params, user_attrs={ORIGIN: name})
    return len(usable)


def fitting(spec: StudySpec, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The Optuna parameters that a configuration gives to this space, without those that do not lie in it."""
    params: dict[str, Any] = {}
    for name, parameter in spec.parameters.items():
        value = configuration.get(name)
        if isinstance(parameter, Fixed) or value is None or not parameter.contains(value):
            continue
        params.update(optuna_params(name, parameter, value))
    return params


def _best(source: optuna.Study, top: int) -> list[Run]:
    """The best complete runs of different configurations."""
    best: dict[str, Run] = {}
    for run in sorted(finished_runs(source), key=lambda run: (-run.value, run.number)):
        best.setdefault(run.key, run)
    return list(best.values())[:top]


def _storage(study: optuna.Study, spec: StudySpec) -> BaseStorage:
    assert spec.source is not None
    return storage_of(study) if spec.source.url is None else existing_storage(spec.source.url, spec.source.study)
