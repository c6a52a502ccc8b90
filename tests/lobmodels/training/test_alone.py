"""A run by hand is the run that a worker would make of the same configuration, seed and data."""

from __future__ import annotations

import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.training.alone import train
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun


def test_it_is_a_workers_run(small_dataset: Dataset) -> None:
    """The same weights, bit for bit on a CPU, and every epoch is reported."""
    config = RunConfig.parse({"hidden_size": 4, "num_layers": 1, "batch_size": 12, "epochs": 2})
    seen: list[int] = []
    found = train(config, small_dataset, 5, device="cpu", on_epoch=lambda record: seen.append(record.epoch))
    run = TrainingRun(config, 5, RunData.prepare(small_dataset, config))
    while not run.finished:
        run.train_epoch()
    assert seen == [0, 1]
    assert all(torch.equal(tensor, found.weights[name]) for name, tensor in run.result().weights.items())
