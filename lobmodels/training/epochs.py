"""What a run keeps of each epoch, typed here and flat in what is stored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did. Scores are those of the data's metric on the selection sequences, after the epoch; NaN in a
    refit."""

    epoch: int  # from 0
    loss: float  # mean training loss, sequences weighted equally
    scores: dict[str, float]  # by target
    mean: float
    lr: float  # at the start of the epoch
    grad_norm: float  # mean over the steps taken, before clipping
    train_seconds: float  # of this run alone, where several take turns
    seconds: float  # validation included

    def document(self) -> dict[str, Any]:
        """Plain values by name, the score of each target under the target's name."""
        values = dataclasses.asdict(self)
        return {"epoch": values.pop("epoch"), "loss": values.pop("loss"), **values.pop("scores"), **values}

    @staticmethod
    def of(document: dict[str, Any]) -> EpochRecord:
        """The record of a `document()`."""
        own = {field.name for field in dataclasses.fields(EpochRecord)}
        values = {name: value for name, value in document.items() if name in own}
        return EpochRecord(scores={name: value for name, value in document.items() if name not in own}, **values)
