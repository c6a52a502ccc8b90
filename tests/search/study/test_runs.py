"""Finished runs as the commands after the search see them."""

import dataclasses

import pytest

from lobmodels.config import RunConfig
from search.errors import SearchError
from search.study.create import create_study
from search.study.runs import best_run, finished_runs, load_checkpoint, nothing_complete
from tests.search.study.made_trials import DOCUMENT, finish, spec


def test_runs_show_scores_and_the_best(url: str) -> None:
    """Complete runs by number; pruned ones on request, with their best epoch's value; failed ones never."""
    study = create_study(spec(), url)
    finish(study, 8)
    finish(study, 1, fail=True)
    runs = finished_runs(study)
    assert [run.number for run in runs] == [0, 1, 3, 4, 6, 7]
    assert runs[0].value == pytest.approx(0.3) and runs[0].select["t0"] == pytest.approx(0.4) and runs[0].report == {}
    assert runs[0].config == RunConfig.parse({**DOCUMENT["baselines"][0], "epochs": 20})
    assert best_run(runs) == runs[0] and best_run([]) is None
    pruned = next(run for run in finished_runs(study, pruned=True) if run.state == "pruned")
    assert pruned.value == pytest.approx(max(study.trials[2].intermediate_values.values()))


def test_a_damaged_trial_is_left_out_with_a_warning(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """One trial whose seed cannot be read costs that trial, not the command."""
    study = create_study(spec(baselines=()), url)
    finish(study, 2)
    damaged = study.trials[0]
    damaged.user_attrs["seed"] = "seven"
    study.add_trial(damaged)
    assert [run.number for run in finished_runs(study)] == [0, 1]
    assert "trial joint#2 is left out: its key or its seed cannot be read" in caplog.text


def test_a_users_own_trial_is_no_run(url: str) -> None:
    """A trial that a plain Optuna script finished has no configuration to rank."""
    study = create_study(spec(baselines=()), url)
    study.tell(study.ask(), 0.9)
    assert finished_runs(study) == []
    assert "has no complete run yet" in nothing_complete(study)


def test_weights_that_were_never_stored_are_said_so(url: str) -> None:
    """Only complete runs keep weights."""
    study = create_study(spec(baselines=()), url)
    finish(study, 3)
    pruned = next(run for run in finished_runs(study, pruned=True) if run.state == "pruned")
    with pytest.raises(SearchError, match=r"run joint#2 \(pruned\) has no stored weights"):
        load_checkpoint(study, dataclasses.replace(pruned, checkpoint=None))
