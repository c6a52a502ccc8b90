"""Promises of the estimate: real epochs of this machine, added up over the budget."""

import pytest

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.errors import ConfigError
from search.study.preview import sample_configurations
from search.work.estimate import epoch_seconds, study_hours
from tests.machines import small_study


def test_an_epoch_is_really_trained(small_dataset: Dataset) -> None:
    """It takes time; what training refuses, the estimate refuses too."""
    spec = small_study()
    config = sample_configurations(spec, 1)[0]
    assert epoch_seconds(spec, config, small_dataset) > 0
    with pytest.raises(ConfigError, match="batch_size"):
        epoch_seconds(spec, config.model_copy(update={"batch_size": 1000}), small_dataset)


def test_the_whole_is_the_mean_run_times_the_trials() -> None:
    """Two configurations of 10 and 20 epochs at 3 and 6 s: 75 s a run; 48 trials are an hour."""
    configs = [RunConfig(epochs=10), RunConfig(epochs=20)]
    assert study_hours(small_study(trials=48), configs, [3.0, 6.0]) == pytest.approx(1.0)
    endless = small_study().model_copy(update={"budget": small_study().budget.model_copy(update={"trials": None})})
    assert study_hours(endless, configs, [3.0, 6.0]) is None
