"""The random numbers of one run: a stream of its own, whatever else the process draws meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


class RandomStream:
    """Torch's process-wide generators as one run sees them.

    Dropout layers and recurrent kernels draw from the process-wide generators and take no other. So a run keeps its own
    states of them (of the CPU, and of its GPU), puts them in place while it draws, and takes them out again. Neither
    waits for the device. Several runs in one thread may alternate step by step without affecting each other. Not
    covered: the dropout inside cuDNN's recurrent kernels, which has one state a GPU that is never seeded again.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._states: tuple[Tensor, Tensor | None] | None = None

    def seed(self, seed: int, stage: int) -> None:
        """Begin the stream of (seed, stage): stage 0 initialises the weights, stage e + 1 trains epoch e."""
        value = int(np.random.SeedSequence([seed, stage]).generate_state(1, np.uint64)[0] >> 1)
        devices = [torch.device("cpu")] + [self.device] * (self.device.type == "cuda")
        cpu, *gpu = (torch.Generator(device).manual_seed(value).get_state() for device in devices)
        self._states = (cpu, gpu[0] if gpu else None)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Inside, the process draws from this stream. Raises `RuntimeError` before `seed`."""
        if self._states is None:
            raise RuntimeError("the stream was not seeded")
        before = self._current()
        self._put(self._states)
        try:
            yield
        finally:
            self._states = self._current()
            self._put(before)

    def _current(self) -> tuple[Tensor, Tensor | None]:
        gpu = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return torch.get_rng_state(), gpu

    def _put(self, states: tuple[Tensor, Tensor | None]) -> None:
        cpu, gpu = states
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu, self.device)
