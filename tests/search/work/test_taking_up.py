"""Promises of a second look at work: a pruned run goes on exactly as if it had never been stopped."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from lobmodels.config import RunConfig
from lobmodels.data import load_dataset
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from search.study.open import open_study
from search.study.record import CONTINUES, KEPT_STATE, read_trial
from search.study.retention import collect
from search.work.options import WorkOptions
from search.work.worker import work
from storage.backends.registry import open_storage
from storage.store import artifacts_of
from tests.machines import assert_sound, create, small_study, trials

PRUNER = {"name": "halving"}


def test_a_pruned_run_goes_on_where_it_stopped(small_data: Path, sqlite_url: str) -> None:
    """Of ten trials the last ones take up what was pruned; their results are those of runs that nobody pruned."""
    look = {"share": 0.3, "megabytes": 1.0}
    create(sqlite_url, small_study(trials=10, epochs=6, pruner=PRUNER, second_look=look, validation={}))
    work(sqlite_url, "small", small_data, options=WorkOptions(device="cpu", checkpoint_every=0.0))
    done = trials(sqlite_url)
    again = [trial for trial in done if CONTINUES in trial.user_attrs]
    assert again and len(done) == 10
    for trial in again:
        record, first = read_trial("small", trial), read_trial("small", done[trial.user_attrs[CONTINUES]])
        assert first.state == "pruned" and first.frozen.user_attrs[KEPT_STATE]["epoch"] == first.epochs
        assert (record.seed, record.key, record.means[: first.epochs]) == (first.seed, first.key, first.means)
        assert record.epochs > first.epochs
        assert record.means == pytest.approx(
            _alone(small_data, record.configuration, record.seed, record.epochs), rel=1e-5
        )
    assert_sound(sqlite_url)
    sweep = collect(open_storage(sqlite_url), artifacts_of(open_study(sqlite_url, "small")), age=0.0)
    assert sweep.kept_bytes < 2_000_000
    assert_sound(sqlite_url)


def test_without_a_share_no_state_is_kept(small_data: Path, sqlite_url: str) -> None:
    """Nothing of a pruned run stays in the store."""
    create(sqlite_url, small_study(trials=6, epochs=4, pruner=PRUNER))
    work(sqlite_url, "small", small_data, options=WorkOptions(device="cpu", checkpoint_every=0.0))
    done = trials(sqlite_url)
    assert any(trial.state == TrialState.PRUNED for trial in done)
    assert not any(KEPT_STATE in trial.user_attrs or CONTINUES in trial.user_attrs for trial in done)


def _alone(data: Path, configuration: dict, seed: int | None, epochs: int) -> list[float]:  # type: ignore[type-arg]
    """Scores by epoch of the same run without a study."""
    config, dataset = RunConfig.parse(configuration), load_dataset(data)
    run = TrainingRun(config, seed or 0, RunData.prepare(dataset, config, "cpu"))
    return [run.train_epoch().mean for _ in range(epochs)]
