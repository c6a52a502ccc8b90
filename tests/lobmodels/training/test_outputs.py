"""What is measured of a run is what its network predicts, row by row, whatever the batches were."""

import dataclasses

import numpy as np
import torch

from lobmodels.config import RunConfig
from lobmodels.training.batches import RunData
from lobmodels.training.outputs import BATCH, outputs
from lobmodels.training.run import TrainingRun
from tests.lobmodels.training.short_data import short_dataset

WARMUP = 99


def prepared(train: int = 6, lengths: list[int] | None = None) -> tuple[TrainingRun, RunData]:
    dataset = short_dataset(train)
    config = RunConfig.parse({"hidden_size": 5, "num_layers": 1, "batch_size": 3})
    data = RunData.prepare(dataset, config)
    if lengths is not None:
        there = torch.arange(data.train.inputs.shape[1]) < torch.tensor(lengths)[:, None]  # (N, T)
        targets = data.train.targets.where(there[:, WARMUP:, None], torch.nan)
        split = dataclasses.replace(data.train, targets=targets, lengths=torch.tensor(lengths))
        data = dataclasses.replace(data, train=split)
    return TrainingRun(config, 0, data), data


def test_they_are_the_networks() -> None:
    """More sequences than a batch holds, in the order that was asked for."""
    run, data = prepared(BATCH + 5)
    index = torch.randperm(BATCH + 5)
    found = outputs(run.network, data.train, index)
    expected = run.network.eval()(data.train.inputs[index].transpose(0, 1))[WARMUP:].transpose(0, 1)
    assert len(found) == len(index) and torch.allclose(found.prediction, expected, atol=1e-6)
    assert torch.equal(found.target, data.train.targets[index])


def test_behind_the_end_there_is_nothing() -> None:
    """Of sequences of several lengths only the steps that there are count, sequence by sequence."""
    run, data = prepared(6, lengths=[112, 105, 101, 111, 104, 100])
    found = outputs(run.network, data.train)
    there = ~data.train.targets[..., 0].isnan()
    assert torch.equal(found.prediction[..., 0].isnan(), ~there)
    prediction, target = found.rows()
    assert len(prediction) == int(there.sum()) == sum((112, 105, 101, 111, 104, 100)) - 6 * WARMUP
    assert np.array_equal(target.numpy(), data.train.targets.numpy()[there.numpy()])
    whole = run.network.eval()(data.train.inputs.transpose(0, 1))[WARMUP:].transpose(0, 1)  # causal: the rest is alike
    assert torch.allclose(prediction, whole[there], atol=1e-6)
