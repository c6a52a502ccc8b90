"""What all trials of a worker share: the data, the device, the request to stop, where events go."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule
from lobmodels.data.sequences import check_batch_size
from lobmodels.training.batches import RunData, fits
from lobmodels.training.turns import Turns
from search.work.events import Emit
from search.work.exits import Exit
from search.work.failure import failure_of
from search.work.room import Room
from search.work.stopping import Stop

log = logging.getLogger(__name__)

# Most input pipelines whose prepared data stays in memory, where it has room; the least recently used is dropped first.
# On a GPU preparing keeps all runs waiting, and a search over feature flags asks for many.
PREPARED, PREPARED_ON_GPU = 2, 8


@dataclass
class WorkerContext:
    """What all trials of one worker share."""

    dataset: Dataset
    device: torch.device
    worker: str  # HOST:PID
    stop: Stop
    emit: Emit
    room: Room
    undecided: bool = False  # how many runs at once are fastest here is not measured yet
    checkpoint_every: float = 60.0  # seconds between two uploads of a running trial's state
    keep_folder: Path = Path()  # where a finished run is saved while the database cannot be reached
    end_process: Callable[[Exit], object] = lambda _: (
        None
    )  # called from a thread when a run hangs: nothing else ends it
    _gpu_readable: bool = True
    turns: Turns = field(default_factory=lambda: Turns(lambda error: failure_of(error).broken_device))
    _prepared: OrderedDict[Any, RunData] = field(default_factory=OrderedDict)
    _used: WeakValueDictionary[Any, RunData] = field(default_factory=WeakValueDictionary)  # by runs, prepared or not

    @property
    def device_name(self) -> str:
        """`cpu`, or the accelerator's own name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def gpu_use(self) -> int | None:
        """Percent of the last moments in which the GPU computed; None on a CPU, or where that cannot be read."""
        if self.device.type != "cuda" or not self._gpu_readable:
            return None
        try:
            return int(torch.cuda.utilization(self.device))
        except Exception as error:  # pynvml is missing or raises errors of its own; a figure to look at ends no trial
            log.debug("the use of the GPU cannot be read: %s", error)
            self._gpu_readable = False
            return None

    def data_for(self, config: RunConfig, rule: SplitRule) -> RunData:
        """The data prepared for the inputs of `config` and divided by `rule`. Raises `ConfigError` for a batch larger
        than the data."""
        check_batch_size(config.batch_size, self.dataset.partition(rule))
        key = (config.feature_groups(), config.feature_settings(), config.normalizer, rule)
        data = self._used.get(key)
        if data is None:
            self._make_room(config)
            data = self._used[key] = self._on_default_stream(config, rule)
        self._prepared[key] = data
        self._prepared.move_to_end(key)
        return data

    def _make_room(self, config: RunConfig) -> None:
        if self.device.type == "cpu":  # each slot has its own copy, unless the data is shared
            self._prepared = OrderedDict((k, data) for k, data in self._prepared.items() if data.shared)
        most = PREPARED if self.device.type == "cpu" else PREPARED_ON_GPU
        while len(self._prepared) >= most or (self._prepared and not fits(self.dataset, config, self.device)):
            self._prepared.popitem(last=False)
            self._empty_cache()

    def _on_default_stream(self, config: RunConfig, rule: SplitRule) -> RunData:
        """The data prepared. On a GPU all streams are waited for before and after: runs on any of them read the data,
        and memory of data that has left may be used again."""
        if self.device.type != "cuda":
            return RunData.prepare(self.dataset, config, self.device, rule=rule)
        torch.cuda.synchronize(self.device)
        with torch.cuda.stream(torch.cuda.default_stream(self.device)):
            data = RunData.prepare(self.dataset, config, self.device, rule=rule)
        torch.cuda.synchronize(self.device)
        return data

    def free_memory(self) -> None:
        """Release the memory that the device holds between trials."""
        self._prepared.clear()
        self._empty_cache()

    def _empty_cache(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # other processes cannot use memory that torch caches
