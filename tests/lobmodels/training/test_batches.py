"""What a run reads: every sequence once an epoch, time-major, scored targets, in the order asked for."""

import numpy as np
import pytest
import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.errors import ConfigError
from lobmodels.inputs import as_tensor
from lobmodels.training.batches import RunData, fits


def config(**values: object) -> RunConfig:
    """A configuration with small batches."""
    return RunConfig.parse({"batch_size": 5, **values})


@pytest.mark.parametrize("values", [{}, {"derived": True, "lag": True, "normalizer": "zscore"}])
def test_batches_hold_each_sequence_once_in_order(small_dataset: Dataset, values: dict[str, object]) -> None:
    """Inputs (T, B, F) equal the pipeline of the raw rows, targets (S, B, 2) are the scored steps."""
    data = RunData.prepare(small_dataset, config(**values), report_fraction=0.25)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(1))
    batches = list(data.train.batches(order, 5))
    assert [x.shape[1] for x, _ in batches] == [5, 5, 5, 5, 4]
    x = torch.cat([x for x, _ in batches], 1).transpose(0, 1)  # (N, T, F)
    y = torch.cat([y for _, y in batches], 1).transpose(0, 1)  # (N, S, 2)
    raw = as_tensor(np.array(small_dataset.train.features))[order]
    assert torch.equal(x, data.pipeline(raw))
    warmup = small_dataset.train.schema.warmup_steps
    assert torch.equal(y, as_tensor(np.array(small_dataset.train.targets))[order][:, warmup:])
    assert all(part.is_contiguous() for pair in batches for part in pair)


def test_selection_and_report_share_nothing(small_dataset: Dataset) -> None:
    """Together they are the validation sequences; with no report fraction all of them select."""
    data = RunData.prepare(small_dataset, config(), report_fraction=0.25)
    assert len(data.select) + len(data.report) == len(small_dataset.valid) and len(data.report) == 3
    assert len(data.select_index) == len(data.select)
    assert len(RunData.prepare(small_dataset, config(), report_fraction=0.0).report) == 0


def test_a_batch_larger_than_the_data_is_refused(small_dataset: Dataset) -> None:
    """It would be no batch of that size."""
    with pytest.raises(ConfigError, match="batch_size=192 is larger"):
        RunData.prepare(small_dataset, RunConfig.parse({}))


def test_what_fits_depends_on_the_free_memory(small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs, features included, may take half of what is free."""
    rows = (len(small_dataset.train) + len(small_dataset.valid)) * small_dataset.train.schema.sequence_length
    for values, columns in (({}, 32 + 2), ({"lag": True}, 32 + 12 + 2)):
        for spare, expected in ((0, True), (-1, False)):
            monkeypatch.setattr("lobmodels.training.batches.free_memory", lambda _: 2 * 4 * rows * columns + spare)  # noqa: B023
            assert fits(small_dataset, config(**values), torch.device("cpu")) is expected
