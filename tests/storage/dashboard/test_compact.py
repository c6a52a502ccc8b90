"""Promises of the dashboard's storage: long attributes are left out, everything else is as it is now."""

from pathlib import Path

import optuna

from storage.backends.registry import open_storage
from storage.dashboard.compact import LONG, CompactStorage


def test_a_running_trial_is_shown_as_it_is_now(tmp_path: Path) -> None:
    """Only finished trials are remembered: what a running one reports later is seen."""
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    study = optuna.create_study(storage=storage, study_name="s")
    shown = CompactStorage(storage)
    trial = study.ask()
    assert shown.get_all_trials(study._study_id)[0].intermediate_values == {}
    trial.report(0.25, 0)
    assert shown.get_all_trials(study._study_id)[0].intermediate_values == {0: 0.25}
    study.tell(trial, 0.5)
    assert shown.get_all_trials(study._study_id)[0].value == 0.5


def test_long_attributes_are_left_out_wherever_trials_are_read(tmp_path: Path) -> None:
    """Lists, single trials, the best trial and studies lack them; the storage underneath keeps them."""
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    study = optuna.create_study(storage=storage, study_name="s")
    trial = study.ask()
    for name in LONG:
        study.set_user_attr(name, [1])
        trial.set_user_attr(name, [1])
    trial.set_user_attr("seed", 3)
    study.tell(trial, 0.5)
    compact = CompactStorage(storage)
    (listed,) = compact.get_all_trials(study._study_id)
    for seen in (listed, compact.get_trial(trial._trial_id), compact.get_best_trial(study._study_id)):
        assert seen.user_attrs == {"seed": 3}
    assert [record.user_attrs for record in compact.get_all_studies()] == [{}]
    assert set(study.trials[0].user_attrs) == {*LONG, "seed"}
