"""A fleet on a card is attacked as one on CPUs is: killed workers, outages, clocks; each run is taken up again on the
card, and ends with the value of the run alone there."""

from pathlib import Path

import torch

from tests.device.conftest import LONG
from tests.search.work.attack import asked_for, attack
from tests.search.work.chaos import Fleet


@LONG
def test_a_fleet_under_attack(gpu: torch.device, is_real: bool, small_data: Path, tmp_path: Path) -> None:
    """Four workers share the card, with eight runs at once each. Without a real one they are on the CPU: no other
    process sees the one that is made of host memory."""
    fleet = Fleet(4, epoch=0.1, runs=8, device=str(gpu)) if is_real else Fleet(3, epoch=0.2, runs=3)
    attack(fleet, asked_for(90.0) if is_real else 20.0, (0.3, 1.5), small_data, tmp_path)
