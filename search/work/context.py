"""Where a worker's trials run: the data, the device, how to stop, whom to tell."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.errors import ConfigError
from lobmodels.training.batches import RunData, fits
from search.work.device_lock import Sharing
from search.work.events import Listener
from search.work.stopping import Stop

PREPARED = 2  # input pipelines whose data stays laid out at most; another one displaces the least recently used


@dataclass
class Workplace:
    """What all trials of one worker share."""

    dataset: Dataset
    device: torch.device
    worker: str  # HOST:PID
    stop: Stop
    tell: Listener
    sharing: Sharing  # of the device with other slots
    checkpoint_every: float = 60.0  # seconds between two uploads of a running trial's state
    keep_folder: Path = Path()  # where a finished run is kept while the database is gone
    _prepared: OrderedDict[Any, RunData] = field(default_factory=OrderedDict)

    @property
    def device_name(self) -> str:
        """`cpu`, or the accelerator's own name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def data_for(self, config: RunConfig, report_fraction: float) -> RunData:
        """The data laid out for the inputs of `config`. Raises `ConfigError` where the batch is too large for it."""
        if config.batch_size > len(self.dataset.train):
            raise ConfigError(
                f"batch_size={config.batch_size} is larger than the data: there are {len(self.dataset.train)} train "
                "sequences; choose a smaller batch_size"
            )
        key = (config.feature_groups(), config.normalizer, report_fraction)
        if key not in self._prepared:
            if self.device.type == "cpu":  # every slot of the machine would keep its own; what is shared costs nothing
                self._prepared = OrderedDict((k, data) for k, data in self._prepared.items() if data.shared)
            while len(self._prepared) >= PREPARED or (self._prepared and not fits(self.dataset, config, self.device)):
                self._prepared.popitem(last=False)
                self._give_back()
            self._prepared[key] = RunData.prepare(self.dataset, config, self.device, report_fraction)
        self._prepared.move_to_end(key)
        return self._prepared[key]

    def free_memory(self) -> None:
        """Give back what the device holds between trials."""
        self._prepared.clear()
        self._give_back()

    def _give_back(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # other slots of the card can only use what torch does not keep
