"""Promises of the brief reading: what samplers and pruners see is what a whole reading gives, for fewer bytes."""

from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from storage.backends.registry import open_store
from storage.backends.sql_trials import read_changes
from storage.wanted import EVERY_STEP, WantedReports


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """A new database of each kind that is read with SQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return str(request.getfixturevalue("postgres_url"))


def _filled(url: str) -> tuple[Any, optuna.Study]:
    """A study with trials of every state, parameters of every kind, and reports that are no numbers."""
    store = open_store(url)
    study = optuna.create_study(storage=store.storage, direction="maximize", sampler=optuna.samplers.RandomSampler(1))
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING):
        trial = study.ask()
        trial.suggest_float("lr", 1e-4, 1e-2, log=True)
        trial.suggest_int("n", 1, 9)
        trial.suggest_categorical("head", ["linear", "mlp", None])
        for step, value in enumerate([0.1 + 1e-17, float("nan"), float("inf"), -float("inf"), 1 / 3]):
            trial.report(value, step)
        trial.set_user_attr("seconds", 1.5)
        trial.set_user_attr("history", [1, 2, 3])
        if state != TrialState.RUNNING:
            study.tell(trial, 0.7 if state == TrialState.COMPLETE else None, state=state)
    study.enqueue_trial({"lr": 1e-3})
    return store, study


def _seen(trial: FrozenTrial, attributes: tuple[str, ...]) -> tuple[Any, ...]:
    """What the brief reading promises of a trial."""
    reported = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return (
        trial.number,
        trial._trial_id,
        trial.state,
        trial.params,
        trial.distributions,
        repr(trial.values) if reported else None,
        repr(trial.intermediate_values) if reported else None,
        {key: value for key, value in trial.user_attrs.items() if key in attributes},
    )


def test_it_gives_what_a_whole_reading_gives(url: str) -> None:
    """Parameters in their order, distributions, values and reports to the last bit, the attributes asked for."""
    store, study = _filled(url)
    found = read_changes(store.engine, study._study_id, {}, ("seconds",), newest=-1, running=True)
    whole = open_store(url).storage.get_all_trials(study._study_id)
    assert [_seen(t, ("seconds",)) for t in found.values()] == [_seen(t, ("seconds",)) for t in whole]
    assert [list(t.params) for t in found.values()] == [list(t.params) for t in whole]


def test_a_trial_that_was_read_before_it_began_is_read_whole_once_it_ends(url: str) -> None:
    """The only known one had no distributions yet: the database must not take them from it."""
    store = open_store(url)
    study = optuna.create_study(storage=store.storage, direction="maximize", sampler=optuna.samplers.RandomSampler(1))
    study.enqueue_trial({"lr": 1e-3})
    known = read_changes(store.engine, study._study_id, {}, (), newest=-1, running=True)
    trial = study.ask()
    trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    study.tell(trial, 0.5)
    ended = read_changes(store.engine, study._study_id, known, (), newest=max(known), running=True)
    assert ended[trial._trial_id].params == {"lr": 1e-3} and ended[trial._trial_id].value == 0.5


def test_what_is_known_is_not_read_again(url: str) -> None:
    """Finished trials never come again; one that runs comes as a row, and in full once it has ended."""
    store, study = _filled(url)
    known = read_changes(store.engine, study._study_id, {}, ("seconds",), newest=-1, running=True)
    again = read_changes(store.engine, study._study_id, known, ("seconds",), newest=max(known), running=True)
    assert [t.state for t in again.values()] == [TrialState.RUNNING, TrialState.WAITING]
    study.tell(3, 0.9)
    ended = read_changes(store.engine, study._study_id, known, ("seconds",), newest=max(known), running=False)
    assert ended[known_id(known, 3)].value == 0.9 and len(ended[known_id(known, 3)].intermediate_values) == 5


def test_a_trial_that_began_before_another_ended_is_not_missed(url: str) -> None:
    """A look that sees only finished trials does not take a later one that has ended for the newest."""
    store, study = _filled(url)
    known = read_changes(store.engine, study._study_id, {}, (), newest=-1, running=True)
    newest = max(known)
    runs, ended = study.ask(), study.ask()
    study.tell(ended, 0.4)
    known |= read_changes(store.engine, study._study_id, known, (), newest=newest, running=False)
    assert known[ended._trial_id].value == 0.4
    assert not read_changes(store.engine, study._study_id, known, (), newest=newest, running=False)
    later = read_changes(store.engine, study._study_id, known, (), newest=newest, running=True)
    assert runs._trial_id in later and ended._trial_id not in later


def known_id(known: dict[int, FrozenTrial], number: int) -> int:
    """The id of the trial of this number."""
    return next(i for i, trial in known.items() if trial.number == number)


def test_two_statements_whatever_the_number_of_trials(url: str) -> None:
    """One for the trials' states, one for all details; without news only the first."""
    store, study = _filled(url)
    with counted(store.engine) as statements:
        known = read_changes(store.engine, study._study_id, {}, ("seconds",), newest=-1, running=True)
    assert len(statements) == 2
    with counted(store.engine) as statements:
        read_changes(store.engine, study._study_id, known, ("seconds",), newest=max(known), running=False)
    assert len(statements) == 1


def test_a_deleted_study_is_an_error(url: str) -> None:
    """A worker must notice that its study is gone."""
    store, study = _filled(url)
    optuna.delete_study(study_name=study.study_name, storage=store.storage)
    with pytest.raises(KeyError):
        read_changes(store.engine, study._study_id, {}, (), newest=-1, running=True)


class counted:
    """The statements that are executed in its `with` block."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine, self.statements = engine, []

    def _count(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)

    def __enter__(self) -> list[str]:
        sa.event.listen(self.engine, "before_cursor_execute", self._count)
        return self.statements

    def __exit__(self, *_: object) -> None:
        sa.event.remove(self.engine, "before_cursor_execute", self._count)


def test_a_pruner_that_compares_running_trials_gets_their_reports(url: str) -> None:
    """Each look brings the reports of trials that run before the step that is asked for, and the last one; without a
    step, none."""
    store, study = _filled(url)
    arguments = (store.engine, study._study_id, {}, ("seconds",))
    for bound, steps in ((EVERY_STEP, [0, 1, 2, 3, 4]), (2, [0, 1, 4]), (0, [])):
        found = read_changes(*arguments, newest=-1, running=True, wanted=WantedReports(running=bound))
        running = next(trial for trial in found.values() if trial.state == TrialState.RUNNING)
        assert list(running.intermediate_values) == steps


def test_a_pruner_that_compares_first_epochs_gets_no_more(url: str) -> None:
    """Of trials that have ended: their reports before the step that is asked for, and the last one, in order."""
    store, study = _filled(url)
    for ended, steps in ((EVERY_STEP, [0, 1, 2, 3, 4]), (2, [0, 1, 4]), (0, [4])):
        wanted = WantedReports(ended=ended)
        found = read_changes(store.engine, study._study_id, {}, (), newest=-1, running=False, wanted=wanted)
        whole = {t._trial_id: t for t in study.get_trials(deepcopy=False)}
        reported = [t for t in found.values() if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        for trial in reported:
            every = whole[trial._trial_id].intermediate_values
            assert repr(trial.intermediate_values) == repr({step: every[step] for step in steps})
        assert len(reported) == 2


def test_the_last_report_of_a_running_trial_comes_with_each_look(url: str) -> None:
    """It says how far the trial has got, though no score behind the bound is compared."""
    store, study = _filled(url)
    looks = {"newest": -1, "running": True, "wanted": WantedReports(running=2)}
    known = read_changes(store.engine, study._study_id, {}, ("seconds",), **looks)
    trial_id = known_id(known, 3)
    for step in (5, 6):
        store.storage.set_trial_intermediate_value(trial_id, step, 0.5)
    later = read_changes(store.engine, study._study_id, known, ("seconds",), **looks)
    assert list(later[trial_id].intermediate_values) == [0, 1, 4, 6]


def test_reports_of_a_running_trial_are_read_once(url: str) -> None:
    """A later look adds what is new to what is known, and the trial as it was known before does not change; once the
    trial has ended, all its reports are there."""
    store, study = _filled(url)
    looks = {"newest": -1, "running": True, "wanted": WantedReports(running=EVERY_STEP)}
    known = read_changes(store.engine, study._study_id, {}, ("seconds",), **looks)
    store.storage.set_trial_intermediate_value(known_id(known, 3), 5, 0.5)
    store.storage.set_trial_intermediate_value(known_id(known, 3), 0, 9.0)  # by a worker that resumed it
    later = read_changes(store.engine, study._study_id, known, ("seconds",), **looks)
    before, after = (trials[known_id(known, 3)].intermediate_values for trials in (known, later))
    assert list(before) == [0, 1, 2, 3, 4] and list(after) == [0, 1, 2, 3, 4, 5]
    assert after[0] == before[0] and after[5] == 0.5
    study.tell(3, 0.9)
    ended = read_changes(store.engine, study._study_id, known | later, ("seconds",), **looks)
    assert ended[known_id(known, 3)].intermediate_values[0] == 9.0
    assert len(ended[known_id(known, 3)].intermediate_values) == 6


def test_a_known_distribution_is_not_read_again(url: str) -> None:
    """Trials of one space share it; one with another range, or with a further parameter, has its own."""
    store, study = _filled(url)
    known = read_changes(store.engine, study._study_id, {}, (), newest=-1, running=True)
    for high, name in ((1e-2, "n"), (1e-1, "m")):
        trial = study.ask()
        trial.suggest_float("lr", 1e-4, high, log=True)
        trial.suggest_int(name, 1, 9)
        study.tell(trial, 0.5)
    later = read_changes(store.engine, study._study_id, known, (), newest=max(known), running=True)
    whole = {t._trial_id: t for t in open_store(url).storage.get_all_trials(study._study_id)}
    finished = [trial for trial in later.values() if trial.state == TrialState.COMPLETE]
    assert len(finished) == 2
    assert all(t.distributions == whole[t._trial_id].distributions for t in finished)
    assert all(t.params == whole[t._trial_id].params for t in finished)
    assert finished[0].distributions["lr"] is known[known_id(known, 0)].distributions["lr"]


def test_a_trial_that_was_read_while_it_was_suggested(url: str) -> None:
    """Another worker's trial had one parameter, or none, when it was read and has two by now: it is read again in
    full, and so are the trials after it, whose distributions equal its own."""
    store = open_store(url)
    study = optuna.create_study(storage=store.storage, sampler=optuna.samplers.RandomSampler(1))
    for suggested in (0, 1):
        trial = study.ask()
        for name in ("lr", "wd")[:suggested]:
            trial.suggest_float(name, 0.0, 1.0)
        known = read_changes(store.engine, study._study_id, {}, (), newest=-1, running=True)
        other = study.ask()
        for name in ("lr", "wd"):
            other.suggest_float(name, 0.0, 1.0)
            trial.suggest_float(name, 0.0, 1.0)
        found = read_changes(store.engine, study._study_id, known, (), newest=max(known), running=True)
        whole = {t._trial_id: t for t in open_store(url).storage.get_all_trials(study._study_id)}
        assert {other._trial_id, trial._trial_id} <= found.keys()
        assert all(found[i].params == whole[i].params for i in found)
        assert all(found[i].distributions == whole[i].distributions for i in found)
