"""Prepared data stays for the next trial, as long as there is memory for it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule
from lobmodels.training.batches import RunData
from search.work.context import WorkerContext
from search.work.room import Room
from search.work.stopping import Stop

FIXED = SplitRule()


@pytest.fixture
def context(small_dataset: Dataset) -> WorkerContext:
    """What trials on the CPU share."""
    return WorkerContext(small_dataset, torch.device("cpu"), "host:1", Stop(), lambda _: None, Room(1), 60.0, Path())


def config(**values: Any) -> RunConfig:
    return RunConfig.parse({"batch_size": 8, **values})


def kept(context: WorkerContext, data: RunData) -> bool:
    """Whether the data stays without a run that reads it."""
    return any(other is data for other in context._prepared.values())


def test_inputs_are_laid_out_once(context: WorkerContext) -> None:
    """Trials that read the same inputs share them, whatever else differs; the least recently used go first."""
    plain = context.data_for(config(), FIXED)
    assert context.data_for(config(lr=1e-2, hidden_size=8), FIXED) is plain
    derived = context.data_for(config(derived=True), FIXED)
    assert context.data_for(config(), FIXED) is plain
    context.data_for(config(normalizer="zscore"), FIXED)
    assert context.data_for(config(), FIXED) is plain
    assert not kept(context, derived)


def test_data_that_a_run_reads_is_not_laid_out_twice(context: WorkerContext) -> None:
    """It has left the store of prepared data, but a run at once still reads it: the next run shares it."""
    derived = context.data_for(config(derived=True), FIXED)
    context.free_memory()
    assert not kept(context, derived)
    assert context.data_for(config(derived=True), FIXED) is derived


def test_a_cpu_slot_holds_one_layout_of_its_own(context: WorkerContext) -> None:
    """Computed inputs are a slot's own memory: those of the trial before leave first. Raw columns are the arrays that
    all processes share, and stay."""
    plain = context.data_for(config(), FIXED)
    derived = context.data_for(config(derived=True), FIXED)
    assert plain.shared and not derived.shared
    context.data_for(config(lag=True), FIXED)
    assert [data.shared for data in context._prepared.values()] == [True, False]
    assert kept(context, plain) and not kept(context, derived)


def test_where_memory_is_short_one_is_kept(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of the trial before leaves when its successor's would not fit beside it."""
    monkeypatch.setattr("lobmodels.training.batches.free_memory", lambda _: 1 << 20)
    plain = context.data_for(config(), FIXED)
    assert context.data_for(config(), FIXED) is plain
    context.data_for(config(derived=True), FIXED)
    assert not kept(context, plain)


def test_the_use_of_a_gpu(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """None on a CPU; percent on a GPU; where it cannot be read, None, and it is not asked for again."""
    assert context.gpu_use() is None
    context.device = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 93)
    assert context.gpu_use() == 93
    asked = []

    def missing(device: torch.device) -> int:
        asked.append(device)
        raise ModuleNotFoundError("pynvml does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "utilization", missing)
    assert [context.gpu_use(), context.gpu_use()] == [None, None] and len(asked) == 1
