"""Changed trials on their way through the proxy: what a worker knows already is not sent again.

Optuna's own call sends every running trial in full whenever a worker looks. Here the worker says what it knows, the
proxy reads the rest as a worker with SQL does, and each distribution is sent once an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from storage.backends.sql_trials import read_changes
from storage.new_trial import new_trial
from storage.optuna_internals import trial_id_of
from storage.retry import with_retry
from storage.wanted import WantedReports

ANSWER_WITHIN = 5.0  # seconds that the proxy tries in an outage; the worker then asks again
KNOWN = "known"  # in place of parameters and attributes that the worker has

Answer = dict[str, Any]


def known_as_json(known: Mapping[int, FrozenTrial], newest: int) -> dict[str, Any]:
    """What the proxy must know of a worker's trials: of unfinished ones the id, the last report (-1: none) and whether
    its parameters are complete; the ids of finished ones after `newest`."""
    return {
        "unfinished": [
            [trial_id, max(trial.intermediate_values, default=-1), bool(trial.params and trial.user_attrs)]
            for trial_id, trial in known.items()
            if not trial.state.is_finished()
        ],
        "finished": [i for i, trial in known.items() if i > newest and trial.state.is_finished()],
    }


def answer(engine: Engine | None, request: Mapping[str, Any]) -> Answer:
    """The proxy's answer to a worker's question, see `trials_of`. Raises `Unavailable` in an outage."""
    if engine is None:
        return {"whole": True}
    known = _stand_ins(request["known"])
    wanted = WantedReports.from_json(request)
    terms: dict[str, Any] = {"newest": request["newest"], "running": request["running"], "wanted": wanted}

    def read() -> dict[int, FrozenTrial]:
        return read_changes(engine, request["study_id"], known, request["attributes"], **terms)

    try:
        changed = with_retry(read, ANSWER_WITHIN, what="trials")
    except KeyError:
        return {"deleted": True}
    texts: dict[str, int] = {}
    trials = [_trial_as_json(trial, known.get(trial_id), texts) for trial_id, trial in changed.items()]
    return {"trials": trials, "distributions": list(texts)}


def trials_of(answer: Answer, known: Mapping[int, FrozenTrial], study_id: int) -> dict[int, FrozenTrial] | None:
    """The changed trials by id, as `read_changes` gives them; None where the database behind the proxy can only be read
    whole. Raises `KeyError` where the study was deleted."""
    if answer.get("whole"):
        return None
    if answer.get("deleted"):
        raise KeyError(f"study {study_id} is not in the database")
    kinds = [json_to_distribution(text) for text in answer["distributions"]]
    return {record[0]: _trial_of(record, known.get(record[0]), kinds) for record in answer["trials"]}


def _stand_ins(document: Mapping[str, Any]) -> dict[int, FrozenTrial]:
    """Trials that hold no more than what `known_as_json` says of them."""
    known = {}
    for trial_id, last, complete in document["unfinished"]:
        trial = known[trial_id] = new_trial(-1, trial_id, None)
        if complete:
            trial.params, trial.user_attrs = {KNOWN: None}, {KNOWN: None}
        if last >= 0:
            trial.intermediate_values = {last: 0.0}
    for trial_id in document["finished"]:
        known[trial_id] = new_trial(-1, trial_id, None)
        known[trial_id].state = TrialState.COMPLETE
    return known


def _trial_as_json(trial: FrozenTrial, known: FrozenTrial | None, texts: dict[str, int]) -> list[Any]:
    """Id, number, state, parameters, reports, values, attributes; None for what the worker has. `texts` numbers the
    distributions."""
    params = None
    if KNOWN not in trial.params:
        kinds = {name: distribution_to_json(kind) for name, kind in trial.distributions.items()}
        params = {
            name: [trial.distributions[name].to_internal_repr(value), texts.setdefault(kinds[name], len(texts))]
            for name, value in trial.params.items()
        }
    reports = trial.intermediate_values
    if trial.state == TrialState.RUNNING and known is not None:
        reports = {step: value for step, value in reports.items() if step not in known.intermediate_values}
    attributes = None if KNOWN in trial.user_attrs else trial.user_attrs
    identity = [trial_id_of(trial), trial.number, trial.state.name]
    return [*identity, params, list(reports.items()), trial.values, attributes]


def _trial_of(record: Sequence[Any], known: FrozenTrial | None, kinds: Sequence[Any]) -> FrozenTrial:
    trial_id, number, state, params, reports, values, attributes = record
    trial = new_trial(number, trial_id, None)
    trial.state = TrialState[state]
    trial.intermediate_values = {int(step): value for step, value in reports}
    if known is not None and trial.state == TrialState.RUNNING:
        trial.intermediate_values = known.intermediate_values | trial.intermediate_values
    if params is not None:
        trial.distributions = {name: kinds[index] for name, (_, index) in params.items()}
        trial.params = {name: kinds[index].to_external_repr(value) for name, (value, index) in params.items()}
    elif known is not None:
        trial.params, trial.distributions = known.params, known.distributions
    if attributes is not None:
        trial.user_attrs = attributes
    elif known is not None:
        trial.user_attrs = known.user_attrs
    if values is not None:
        trial.values = values
    return trial
