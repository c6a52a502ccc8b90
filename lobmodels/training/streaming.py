"""Batches from host memory to a GPU: gathered into pinned memory, copied while an earlier batch is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch")


def streamed(
    sources: Sequence[Tensor], order: Tensor, size: int, device: torch.device, prepare: Callable[..., Batch]
) -> Iterator[Batch]:
    """`prepare(*rows)` for `size` indices of `order` at a time: `rows` are those rows of the host tensors `sources`, on
    `device`. What `prepare` returns must be new memory: the rows are overwritten by a later batch.

    Two batches are under way at a time. The host never waits for a training step, only for the copy made two batches
    ago, whose pinned memory it fills again.
    """
    indices = order.split(size) if len(order) else ()
    stages = [_Stage(sources, min(size, len(order)), device) for _ in indices[:2]]
    copying = torch.cuda.Stream(device)
    copying.wait_stream(torch.cuda.current_stream(device))  # kernels that used the stages' memory before may still run
    try:
        for stage, index in zip(stages, indices, strict=False):
            stage.load(index, copying)
        for i in range(len(indices)):
            stage = stages[i % 2]
            yield stage.take(torch.cuda.current_stream(device), prepare)
            if i + 2 < len(indices):
                stage.load(indices[i + 2], copying)
    finally:
        torch.cuda.current_stream(device).wait_stream(copying)  # only then may other work use the stages' memory


class _Stage:
    """Room for one batch: pinned host memory, as much on the device, and the events that say when each is free."""

    def __init__(self, sources: Sequence[Tensor], size: int, device: torch.device) -> None:
        shapes = [((size, *source.shape[1:]), source.dtype) for source in sources]
        self.sources = sources
        self.pinned = [torch.empty(shape, dtype=dtype, pin_memory=True) for shape, dtype in shapes]
        self.there = [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in shapes]
        self.copied, self.read = torch.cuda.Event(), torch.cuda.Event()
        self.count = 0

    def load(self, index: Tensor, stream: torch.cuda.Stream) -> None:
        """Gather the rows `index` into pinned memory and start their copy on `stream`."""
        self.copied.synchronize()  # an event that was never recorded counts as over
        self.count = len(index)
        for source, pinned in zip(self.sources, self.pinned, strict=True):
            torch.index_select(source, 0, index, out=pinned[: self.count])
        stream.wait_event(self.read)
        with torch.cuda.stream(stream):
            for pinned, there in zip(self.pinned, self.there, strict=True):
                there[: self.count].copy_(pinned[: self.count], non_blocking=True)
            self.copied.record(stream)

    def take(self, stream: torch.cuda.Stream, prepare: Callable[..., Batch]) -> Batch:
        """The batch made of these rows on `stream`, which waits until they are there."""
        stream.wait_event(self.copied)
        batch = prepare(*(there[: self.count] for there in self.there))
        self.read.record(stream)
        return batch
