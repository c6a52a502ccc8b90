"""The state of a run as bytes: what a process elsewhere needs to go on exactly where it stopped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lobmodels.config import RunConfig
from lobmodels.errors import CheckpointError
from lobmodels.networks import Network
from lobmodels.serialization import pack, unpack
from lobmodels.training.averages import Averages
from lobmodels.training.batches import RunData
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.kept_epochs import KeptEpochs
from lobmodels.training.optimization import Schedule
from lobmodels.training.refit import RefitPlan

FORMAT = 1


class Resumable:
    """The part of a run that is stored, and what it must agree with."""

    config: RunConfig
    seed: int
    data: RunData
    plan: RefitPlan | None
    device: torch.device
    network: Network
    optimizer: Optimizer
    schedule: Schedule
    averages: Averages
    scaler: torch.amp.GradScaler
    history: list[EpochRecord]
    best_epoch: int
    kept: KeptEpochs

    def state(self) -> bytes:
        """Everything a process elsewhere needs to go on: weights, optimiser, schedule, scaler, kept epochs,
        history."""
        optimizer = self.optimizer.state_dict()
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= self.kept.tensors()
        tensors |= self.averages.tensors()
        for index, slots in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in slots.items()}
        document = {
            **self._identity(),
            "history": [record.document() for record in self.history],
            "best_epoch": self.best_epoch,
            "groups": optimizer["param_groups"],
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        return pack(tensors, document)

    def _identity(self) -> dict[str, Any]:
        """What a stored state must agree with to be this run's."""
        return {
            "format": FORMAT,
            "kind": "state",
            "configuration": self.config.identity(),
            "seed": self.seed,
            "data_fingerprint": self.data.fingerprint,
            "split": self.data.rule.document(),
            "plan": None if self.plan is None else self.plan.document(),
        }

    def restore(self, blob: bytes) -> None:
        """Go on from `state()` of a run with the same configuration, seed and data.

        Raises `CheckpointError` where it is another run's, of another format, or damaged.
        """
        tensors, document = unpack(blob, "the stored state of the run")
        for key, value in self._identity().items():
            if document.get(key) != value:
                raise CheckpointError(
                    f"the stored state has {key} {document.get(key)!r}, this run {value!r}: it belongs to another run"
                )
        self.network.load_state_dict(_under("network.", tensors))
        self.averages.load(tensors, self.device)
        self.kept.load(tensors, document["best_epoch"], self.device)
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimizer.", tensors).items():
            index, name = key.split(".", 1)
            slots.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": document["groups"]})
        self.schedule.load_state_dict(document["schedule"])
        if document["scaler"]:  # empty after a run on a CPU or in float32; the scale then keeps its initial value
            self.scaler.load_state_dict(document["scaler"])
        self.history = [EpochRecord.of(record) for record in document["history"]]
        self.best_epoch = document["best_epoch"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
