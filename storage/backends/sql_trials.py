"""Reads what pruners and samplers need of other workers' trials, with few statements and few bytes.

Every worker reads every finished trial, so that the bytes grow with the square of the fleet. Three things are therefore
not sent: a parameter's distribution that a known trial has, reports of a running trial that are known, and reports that
the study's pruner does not compare.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from optuna.distributions import json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import aggregate_order_by

from storage.new_trial import new_trial
from storage.optuna_internals import (
    loaded_outcome,
    loaded_report,
    outcomes,
    params,
    reports,
    studies,
    trial_id_of,
    trials,
    user_attrs,
)
from storage.wanted import ENDED_ALONE, EVERY_STEP, WantedReports

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
REPORTED = (TrialState.COMPLETE, TrialState.PRUNED)  # whose reports and values pruners and samplers read
AT_ONCE = 2000  # trials in one statement, each bound up to five times: fewer parameters than any database allows

PARAM, REPORT, OUTCOME, ATTRIBUTE = range(4)  # kinds of a detail
VALUE, NEXT = "\x1f", "\x1e"  # between an attribute's name and value, and before the next: JSON has no such characters


def read_changes(
    engine: Engine,
    study_id: int,
    known: Mapping[int, FrozenTrial],
    attributes: Sequence[str],
    *,
    newest: int,
    running: bool,
    wanted: WantedReports = ENDED_ALONE,
) -> dict[int, FrozenTrial]:
    """The trials of a study that differ from `known`, by trial id. `newest` is the highest id that was known after the
    last read that included unfinished trials.

    A finished trial has its parameters, values, the `wanted` reports and the user attributes named in `attributes`, but
    no times. With `running`, unfinished trials are included, with their attributes and their parameters, which are read
    once; running trials have the `wanted` reports as well, each read once: what a worker that resumes a trial reports
    again for the same epochs is seen when the trial has ended.
    Raises `KeyError` where the study is not in the database.
    """
    unfinished = [trial_id for trial_id, trial in known.items() if not trial.state.is_finished()]
    finished = [trial_id for trial_id in known if trial_id > newest and known[trial_id].state.is_finished()]
    states = tuple(TrialState) if running else FINISHED
    with engine.begin() as connection:
        rows = connection.execute(_heads(study_id, unfinished, newest, finished, states)).all()
        if not rows:
            raise KeyError(f"study {study_id} is not in the database")
        changed = {row.trial_id: _brief(row, known.get(row.trial_id)) for row in rows if row.trial_id is not None}
        found = list(changed.values())
        # Only a finished trial: one that was read before it began lacks here what it has in the database by now.
        ended = (trial for trial in known.values() if trial.state.is_finished())
        like = max(ended, key=lambda trial: len(trial.distributions), default=None)
        for start in range(0, len(found), AT_ONCE):
            _fill(connection, found[start : start + AT_ONCE], attributes, wanted, like)
    return changed


def _heads(
    study_id: int, unfinished: list[int], newest: int, finished: list[int], states: Sequence[TrialState]
) -> sa.Select[Any]:
    """One row for each trial that may have changed, or one row of NULLs; no row where the study is missing."""
    changed = ((trials.c.trial_id > newest) & trials.c.trial_id.not_in(finished)) | trials.c.trial_id.in_(unfinished)
    wanted = changed & trials.c.state.in_(states)
    joined = studies.outerjoin(trials, (trials.c.study_id == studies.c.study_id) & wanted)
    columns = (trials.c.trial_id, trials.c.number, trials.c.state)
    return sa.select(*columns).select_from(joined).where(studies.c.study_id == study_id)


def _brief(row: Any, known: FrozenTrial | None) -> FrozenTrial:
    """A trial with the state of its `row`, and with the parameters, attributes and, while it runs, reports of `known`,
    if there is one."""
    trial = new_trial(row.number, row.trial_id, None)
    trial.state = row.state
    if known is not None:
        trial.params, trial.distributions, trial.user_attrs = known.params, known.distributions, known.user_attrs
        if trial.state == TrialState.RUNNING:
            trial.intermediate_values = dict(known.intermediate_values)
    return trial


def _fill(
    connection: Connection,
    found: Iterable[FrozenTrial],
    attributes: Sequence[str],
    wanted: WantedReports,
    like: FrozenTrial | None,
) -> None:
    """Read parameters, reports, values and attributes of these trials, and set them in place.

    A distribution that equals the one of trial `like` is taken from there.
    """
    by_id = {trial_id_of(trial): trial for trial in found}
    details: dict[tuple[int, int], list[Any]] = defaultdict(list)
    arrays = connection.dialect.name == "postgresql"
    for row in connection.execute(_details(by_id, attributes, arrays, wanted, like)):
        details[row.trial_id, row.kind].append(row)
    known = {} if like is None else like.distributions
    for (trial_id, kind), rows in details.items():
        trial = by_id[trial_id]
        if kind == PARAM:
            kinds = {row.name: known[row.name] if row.text is None else json_to_distribution(row.text) for row in rows}
            trial.distributions = kinds
            trial.params = {row.name: kinds[row.name].to_external_repr(row.number) for row in rows}
        elif kind == REPORT and arrays:
            steps, values = (text.strip("{}").split(",") for text in (rows[0].name, rows[0].text))
            trial.intermediate_values |= {int(step): float(value) for step, value in zip(steps, values, strict=True)}
        elif kind == REPORT:
            trial.intermediate_values |= {row.position: loaded_report(row.number, row.text) for row in rows}
        elif kind == OUTCOME:
            trial.values = [loaded_outcome(row.number, row.text) for row in rows]
        else:
            pairs = [text.split(VALUE, 1) for row in rows for text in row.text.split(NEXT)]
            trial.user_attrs = {name: json.loads(value) for name, value in pairs}


def _details(
    found: Mapping[int, FrozenTrial],
    attributes: Sequence[str],
    arrays: bool,
    wanted: WantedReports,
    like: FrozenTrial | None,
) -> Any:
    """Rows (trial_id, kind, position, name, number, text) of all details that are needed.

    With `arrays`, a trial's reports are one row of two arrays, which takes a third of the bytes, and its attributes one
    row of text.
    """
    # A trial that has an attribute has reported an epoch: all its parameters are there and will not change.
    known = {i for i, trial in found.items() if trial.params and trial.user_attrs and not trial.state.is_finished()}
    new = [i for i in found if i not in known]
    finished = [i for i, trial in found.items() if trial.state in REPORTED]
    running = {i: trial for i, trial in found.items() if wanted.running and trial.state == TrialState.RUNNING}
    nothing = sa.cast(sa.null(), sa.String)
    position, name = params.c.param_id, params.c.param_name
    kind = sa.cast(outcomes.c.value_type, sa.String)
    parts = [
        _part(PARAM, params, position, name, params.c.param_value, _distribution(like)).where(_among(params, new)),
        (_report_arrays() if arrays else _report_rows()).where(_new_reports(finished, running, wanted)),
        _part(OUTCOME, outcomes, outcomes.c.objective, nothing, outcomes.c.value, kind).where(
            _among(outcomes, finished)
        ),
        _attributes(arrays).where(_among(user_attrs, list(found)), user_attrs.c.key.in_(attributes)),
    ]
    return sa.union_all(*parts).order_by("kind", "position")


def _distribution(like: FrozenTrial | None) -> Any:
    """A parameter's distribution as JSON; NULL where trial `like` has the same and it is known here. A trial that was
    still being suggested when it was read has more parameters in the database."""
    if like is None or not like.distributions:
        return params.c.distribution_json
    other = params.alias("alike")
    same = sa.exists().where(
        other.c.trial_id == trial_id_of(like),
        other.c.param_name.in_(list(like.distributions)),
        other.c.param_name == params.c.param_name,
        other.c.distribution_json == params.c.distribution_json,
    )
    return sa.case((same, sa.null()), else_=params.c.distribution_json)


def _new_reports(
    finished: list[int], running: Mapping[int, FrozenTrial], wanted: WantedReports
) -> sa.ColumnElement[bool]:
    """The wanted reports of finished trials; of running ones those after the last known one, and the very last."""
    by_last: dict[int, list[int]] = defaultdict(list)
    for trial_id, trial in running.items():
        by_last[max(trial.intermediate_values, default=-1)].append(trial_id)
    new = {last: ids for last, ids in by_last.items() if last + 1 < wanted.running}
    parts = [_among(reports, ids) & reports.c.step.between(last + 1, wanted.running - 1) for last, ids in new.items()]
    parts.append(_among(reports, finished) & (reports.c.step < wanted.ended))
    bounds = ((finished, wanted.ended), (list(running), wanted.running))
    ends = [trial_id for ids, bound in bounds if bound < EVERY_STEP for trial_id in ids]
    if ends:
        parts.append(_among(reports, ends) & (reports.c.step == _last_step()))
    return sa.or_(*parts)


def _last_step() -> sa.ScalarSelect[Any]:
    """The last step that the trial of a report has reported."""
    every = reports.alias("every")
    return sa.select(sa.func.max(every.c.step)).where(every.c.trial_id == reports.c.trial_id).scalar_subquery()


def _report_rows() -> sa.Select[Any]:
    """Reports with the name of their kind: finite, infinite, not a number."""
    nothing, kind = sa.cast(sa.null(), sa.String), sa.cast(reports.c.intermediate_value_type, sa.String)
    return _part(REPORT, reports, reports.c.step, nothing, reports.c.intermediate_value, kind)


def _report_arrays() -> sa.Select[Any]:
    """The reports of each trial as the texts of two arrays of PostgreSQL: steps, and values to the last bit."""
    kind = sa.cast(reports.c.intermediate_value_type, sa.String)
    special = {"NAN": "NaN", "INF_POS": "Infinity", "INF_NEG": "-Infinity"}
    cases = [(kind == name, sa.cast(sa.literal(text), sa.Float(53))) for name, text in special.items()]
    value = sa.case(*cases, else_=reports.c.intermediate_value)
    steps, values = (
        sa.cast(sa.func.array_agg(aggregate_order_by(column, reports.c.step)), sa.Text)
        for column in (reports.c.step, value)
    )
    number = sa.cast(sa.null(), sa.Float(53))
    part = _part(REPORT, reports, sa.literal_column("0", sa.Integer), steps, number, values)
    return part.group_by(reports.c.trial_id)


def _attributes(arrays: bool) -> sa.Select[Any]:
    """Names and values of attributes as text: one row each, or one a trial where the database can join texts."""
    nothing, number = sa.cast(sa.null(), sa.String), sa.cast(sa.null(), sa.Float(53))
    text, position = user_attrs.c.key + VALUE + user_attrs.c.value_json, user_attrs.c.trial_user_attribute_id
    if not arrays:
        return _part(ATTRIBUTE, user_attrs, position, nothing, number, text)
    joined = sa.func.string_agg(text, aggregate_order_by(sa.literal(NEXT), position))
    part = _part(ATTRIBUTE, user_attrs, sa.literal_column("0", sa.Integer), nothing, number, joined)
    return part.group_by(user_attrs.c.trial_id)


def _among(table: sa.Table, ids: list[int]) -> sa.ColumnElement[bool]:
    return table.c.trial_id.in_(ids)


def _part(kind: int, table: sa.Table, position: Any, name: Any, number: Any, text: Any) -> sa.Select[Any]:
    columns = (
        table.c.trial_id.label("trial_id"),
        sa.literal_column(str(kind), sa.Integer).label("kind"),
        position.label("position"),
        name.label("name"),
        number.label("number"),
        text.label("text"),
    )
    return sa.select(*columns)
