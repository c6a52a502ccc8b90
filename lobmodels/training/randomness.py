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
    state of the CPU's and its own generator of its GPU, puts both in place while it draws, and takes them out again.
    Neither waits for the device. Several runs in one thread may alternate step by step without affecting each other.
    Not covered: the dropout inside cuDNN's recurrent kernels, which has one state a GPU that is never seeded again.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cpu: Tensor | None = None
        self._gpu = torch.Generator(device) if device.type == "cuda" else None

    def seed(self, seed: int, stage: int) -> None:
        """Begin the stream of (seed, stage): stage 0 initialises the weights, stage e + 1 trains epoch e."""
        value = int(np.random.SeedSequence([seed, stage]).generate_state(1, np.uint64)[0] >> 1)
        self._cpu = torch.Generator().manual_seed(value).get_state()
        if self._gpu is not None:
            self._gpu.manual_seed(value)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Inside, the process draws from this stream. Raises `RuntimeError` before `seed`."""
        if self._cpu is None:
            raise RuntimeError("the stream was not seeded")
        before = torch.get_rng_state()
        torch.set_rng_state(self._cpu)
        try:
            with self._on_gpu():
                yield
        finally:
            self._cpu = torch.get_rng_state()
            torch.set_rng_state(before)

    @contextmanager
    def _on_gpu(self) -> Iterator[None]:
        """The GPU draws from this run's generator in the place of the process-wide one: nothing is copied."""
        if self._gpu is None:
            yield
            return
        process_wide = torch.cuda.default_generators[self.device.index]
        before = process_wide.graphsafe_get_state()
        process_wide.graphsafe_set_state(self._gpu)
        try:
            yield
        finally:
            process_wide.graphsafe_set_state(before)
