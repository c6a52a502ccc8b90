"""What all trials of a worker share: the data, the device, the request to stop, where events go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule
from lobmodels.data.sequences import check_batch_size
from lobmodels.training.batches import RunData, fits
from search.work.device_lock import DeviceLock
from search.work.events import Emit
from search.work.exits import Exit
from search.work.stopping import Stop

PREPARED = 2  # most input pipelines whose prepared data stays in memory; the least recently used is dropped first


@dataclass
class WorkerContext:
    """What all trials of one worker share."""

    dataset: Dataset
    device: torch.device
    worker: str  # HOST:PID
    stop: Stop
    emit: Emit
    device_lock: DeviceLock
    checkpoint_every: float = 60.0  # seconds between two uploads of a running trial's state
    keep_folder: Path = Path()  # where a finished run is saved while the database cannot be reached
    end_process: Callable[[Exit], object] = lambda _: (
        None
    )  # called from a thread when a run hangs: nothing else ends it
    _prepared: OrderedDict[Any, RunData] = field(default_factory=OrderedDict)

    @property
    def device_name(self) -> str:
        """`cpu`, or the accelerator's own name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def data_for(self, config: RunConfig, rule: SplitRule) -> RunData:
        """The data prepared for the inputs of `config` and divided by `rule`. Raises `ConfigError` for a batch larger
        than the data."""
        check_batch_size(config.batch_size, self.dataset.partition(rule))
        key = (config.feature_groups(), config.normalizer, rule)
        if key not in self._prepared:
            if self.device.type == "cpu":  # each slot has its own copy, unless the data is shared
                self._prepared = OrderedDict((k, data) for k, data in self._prepared.items() if data.shared)
            while len(self._prepared) >= PREPARED or (self._prepared and not fits(self.dataset, config, self.device)):
                self._prepared.popitem(last=False)
                self._empty_cache()
            self._prepared[key] = RunData.prepare(self.dataset, config, self.device, rule=rule)
        self._prepared.move_to_end(key)
        return self._prepared[key]

    def free_memory(self) -> None:
        """Release the memory that the device holds between trials."""
        self._prepared.clear()
        self._empty_cache()

    def _empty_cache(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # other processes cannot use memory that torch caches
