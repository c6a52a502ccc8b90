"""Estimates how long a study would take on this machine, from one real epoch of some of its configurations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.training.batches import RunData
from lobmodels.training.host import tune_host
from lobmodels.training.run import TrainingRun
from search.studyfile.spec import StudySpec


def epoch_seconds(spec: StudySpec, config: RunConfig, dataset: Dataset) -> float:
    """Seconds of one epoch of `config`, validation included, as a worker of one slot would take them here.

    Raises `ConfigError` for a batch larger than the data, `TrainingError` where the run fails in its first epoch.
    """
    tune_host(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = RunData.prepare(dataset, config, device, rule=spec.validation.rule())
    return TrainingRun(config, spec.seed, data).train_epoch().seconds


def study_hours(spec: StudySpec, configs: Sequence[RunConfig], seconds: Sequence[float]) -> float | None:
    """Hours of one worker for the whole budget: the mean full run of `configs` times the trials. Pruning and early
    stopping shorten it. None where the budget counts no trials."""
    if spec.budget.trials is None:
        return None
    run = sum(config.epochs * each for config, each in zip(configs, seconds, strict=True)) / len(configs)
    return run * spec.budget.trials / 3600.0
