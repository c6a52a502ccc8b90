"""A worker tells a bad trial from a bad study."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.errors import SearchError
from search.work.options import WorkOptions
from search.work.worker import SAME_FAILURES, work
from tests.machines import create, small_study, trials

TOO_LARGE = 10_000  # more sequences than the small set has


def test_a_study_that_cannot_be_trained_is_left(tmp_path: Path, small_data: Path) -> None:
    """Trials that fail alike, one after another, end the worker with their reason before the budget is burnt."""
    fixed = {"hidden_size": 4, "num_layers": 1, "batch_size": TOO_LARGE, "epochs": 1}
    parameters = {**fixed, "lr": {"float": [1e-3, 1e-2], "log": True}}
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=20, parameters=parameters))
    with pytest.raises(
        SearchError, match=rf"{SAME_FAILURES} trials in a row failed here for the same reason: batch_size={TOO_LARGE}"
    ):
        work(url, "small", small_data, options=WorkOptions(device="cpu"))
    assert [trial.state for trial in trials(url)] == [TrialState.FAIL] * SAME_FAILURES


def test_bad_trials_among_good_ones_are_not_the_studys_fault(tmp_path: Path, small_data: Path) -> None:
    """As many failures of one kind with a good trial among them change nothing."""
    fixed = {"hidden_size": 4, "num_layers": 1, "epochs": 1, "lr": {"float": [1e-3, 1e-2], "log": True}}
    sizes = [TOO_LARGE] * (SAME_FAILURES - 1) + [12] + [TOO_LARGE] * (SAME_FAILURES - 1)
    lrs = [1e-3 + 1e-4 * i for i in range(len(sizes))]
    spec = small_study(
        trials=len(sizes),
        parameters={**fixed, "batch_size": {"choices": [12, TOO_LARGE]}},
        baselines=[{"batch_size": size, "lr": lr} for size, lr in zip(sizes, lrs, strict=True)],
    )
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, spec)
    assert work(url, "small", small_data, options=WorkOptions(device="cpu")).outcomes == {"failed": 8, "complete": 1}
