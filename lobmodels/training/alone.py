"""One run by hand: a configuration trained to its end in this process, without a study."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.device import select_device
from lobmodels.training.batches import RunData
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.run import TrainingRun


def train(
    config: RunConfig,
    dataset: Dataset,
    seed: int = 0,
    *,
    device: torch.device | str | None = None,
    report_fraction: float = 0.25,
    on_epoch: Callable[[EpochRecord], None] = lambda _: None,
) -> Checkpoint:
    """Train `config` under `seed` until its epochs are over or early stopping ends it; its best weights and scores.

    The same run as a worker's with this configuration, seed and data. `device` None is the first GPU, else the CPU.
    Raises `ConfigError` for a batch larger than the data, `TrainingError` where the run diverges, `DeviceError` for a
    device that is not there.
    """
    where = select_device(None if device is None else str(device))
    run = TrainingRun(config, seed, RunData.prepare(dataset, config, where, report_fraction))
    while not run.finished:
        on_epoch(run.train_epoch())
    return run.result(f"{config.key()} seed {seed}")
