"""Data that is laid out stays for the next trial, as long as there is room for it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from search.work.context import Workplace
from search.work.device_lock import Sharing
from search.work.stopping import Stop


@pytest.fixture
def place(small_dataset: Dataset) -> Workplace:
    """A workplace on the CPU."""
    return Workplace(small_dataset, torch.device("cpu"), "host:1", Stop(), lambda _: None, Sharing(), 60.0, Path())


def config(**values: Any) -> RunConfig:
    return RunConfig.parse({"batch_size": 8, **values})


def test_inputs_are_laid_out_once(place: Workplace) -> None:
    """Trials that read the same inputs share them, whatever else differs; the least recently used go first."""
    plain = place.data_for(config(), 0.25)
    assert place.data_for(config(lr=1e-2, hidden_size=8), 0.25) is plain
    derived = place.data_for(config(derived=True), 0.25)
    assert place.data_for(config(), 0.25) is plain
    place.data_for(config(normalizer="zscore"), 0.25)
    assert place.data_for(config(), 0.25) is plain
    assert place.data_for(config(derived=True), 0.25) is not derived


def test_a_cpu_slot_holds_one_layout_of_its_own(place: Workplace) -> None:
    """Computed inputs are a slot's own memory: those of the trial before leave first. Raw columns are the arrays that
    all processes share, and stay."""
    plain = place.data_for(config(), 0.25)
    derived = place.data_for(config(derived=True), 0.25)
    assert plain.shared and not derived.shared
    place.data_for(config(lag=True), 0.25)
    assert [data.shared for data in place._prepared.values()] == [True, False]
    assert place.data_for(config(), 0.25) is plain
    assert place.data_for(config(derived=True), 0.25) is not derived


def test_where_memory_is_short_one_is_kept(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of the trial before leaves when its successor's would not fit beside it."""
    monkeypatch.setattr("lobmodels.training.batches.free_memory", lambda _: 1 << 20)
    plain = place.data_for(config(), 0.25)
    assert place.data_for(config(), 0.25) is plain
    place.data_for(config(derived=True), 0.25)
    assert place.data_for(config(), 0.25) is not plain
