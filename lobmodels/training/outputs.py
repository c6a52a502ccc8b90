"""What a network predicts of whole sequences beside what it should, brought to the host for whoever measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lobmodels.device import float32_arithmetic

if TYPE_CHECKING:
    from lobmodels.training.batches import Split

BATCH = 128


@dataclass(frozen=True)
class Outputs:
    """Predictions and targets of the scored steps of sequences, (N, S, K) float32 each. Behind the end of a shorter
    sequence both are NaN."""

    prediction: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.prediction)

    def on_host(self) -> Outputs:
        """The same in host memory. Waits for the device."""
        return Outputs(self.prediction.cpu(), self.target.cpu())

    def rows(self) -> tuple[Tensor, Tensor]:
        """Predictions and targets (R, K) of the steps that there are, sequence by sequence."""
        there = ~self.target[..., 0].isnan()
        return self.prediction[there], self.target[there]


@torch.inference_mode()
def outputs(network: nn.Module, split: Split, index: Tensor | None = None) -> Outputs:
    """Of the sequences `index` of `split`, or else of all, on its device, in float32 on every device.

    Nothing waits for the device. Raises nothing of its own.
    """
    network.eval()
    index = torch.arange(len(split)) if index is None else index
    steps, targets = split.targets.shape[1:]
    prediction, target = (torch.full((len(index), steps, targets), torch.nan, device=split.device) for _ in range(2))
    done = 0
    with float32_arithmetic():
        for x, y in split.batches(index, BATCH):
            found = network(x)[-y.shape[0] :].float()  # (S, B, K): the scored steps are the last ones
            here = (slice(done, done + y.shape[1]), slice(0, y.shape[0]))
            prediction[here] = found.where(~y.isnan(), torch.nan).transpose(0, 1)
            target[here] = y.transpose(0, 1)
            done += y.shape[1]
    return Outputs(prediction, target)
