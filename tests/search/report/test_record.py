"""A report's view of a study: replicates apart, trials by state, durations in the unit that fits."""

import math

import optuna
from optuna.storages import InMemoryStorage

from search.report.record import hours, ordered, read_study
from search.study.replication import rank_study
from tests.made_study import make_study


def test_a_study_is_read_whole() -> None:
    """Every trial is there once, in its state, and the ranking is that of `lobtuna rank`."""
    study = make_study(InMemoryStorage(), 60, replicates=(3, 2))
    read = read_study(study)
    assert [trial.number for trial in read.trials] == list(range(60)) and len(read.replicates) == 6
    assert len(read.of("complete", "pruned", "failed")) == 60
    assert read.best is not None and read.best.value == max(trial.value or -1 for trial in read.finished)
    numbers = [trial.number for trial in (*read.finished, *read.of("pruned"))]
    assert [trial.number for trial in read.scored] == sorted(numbers)
    assert read.ranking.rows == rank_study(study).rows
    assert "batch_size" not in read.searched and "lr" in read.searched


def test_hours_and_their_unit() -> None:
    """Trials on GPUs take GPU hours; what would round to nothing is given in minutes."""
    read = read_study(make_study(InMemoryStorage(), 20))
    assert math.isclose(hours(read.trials), sum(trial.seconds for trial in read.trials) / 3600)
    assert read.time_unit == "GPU hours"
    assert read.duration(2.04) == "2.0 GPU hours" and read.duration(0.5) == "30 GPU minutes"


def test_trials_without_a_value_are_left_out_of_an_order() -> None:
    """Sorting by a score drops the trials that have none."""
    read = read_study(make_study(InMemoryStorage(), 40, failures=0.3))
    values = [trial.value for trial in ordered(read.trials, lambda trial: trial.value)]
    assert None not in values and values == sorted(values, key=lambda value: value or 0.0)


def test_a_score_that_a_script_added_is_no_run() -> None:
    """It is told among the trials, and is neither the best nor part of what the report measures."""
    study = make_study(InMemoryStorage(), 20)
    before = read_study(study)
    study.add_trial(
        optuna.trial.create_trial(
            value=99.0, params=study.best_trial.params, distributions=study.best_trial.distributions
        )
    )
    read = read_study(study)
    assert len(read.trials) == 21 and read.best == before.best
    assert (read.finished, read.scored) == (before.finished, before.scored)
