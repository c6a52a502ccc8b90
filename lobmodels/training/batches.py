"""Where sequences live while a run trains: on its device where they fit, otherwise in host memory with prefetch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, Sequences, validation_split
from lobmodels.features import feature_names
from lobmodels.inputs import CHUNK, InputPipeline, as_tensor
from lobmodels.training.host import free_memory, own_pages

Batch = tuple[Tensor, Tensor]  # inputs (T, B, F), targets of the scored steps (S, B, K)
RESIDENT_SHARE = 0.5  # of the free memory that inputs may take; the rest is for the network's activations


@dataclass(frozen=True)
class Split:
    """Sequences of one role, ready to be batched by index. `inputs` is (N, T, F) float32, or raw (N, T, 32) when the
    pipeline is applied per batch; `targets` is (N, S, K), scored steps only."""

    inputs: Tensor
    targets: Tensor
    device: torch.device
    pipeline: InputPipeline | None = None  # set when `inputs` are raw and stay in host memory

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, order: Tensor, size: int) -> Iterator[Batch]:
        """Batches of `size` sequences in `order` (a CPU index tensor), the last one possibly smaller."""
        if self.inputs.device == self.device:
            for index in order.to(self.device).split(size):
                yield (
                    _time_major(self.inputs.index_select(0, index)),
                    _time_major(self.targets.index_select(0, index)),
                )
        else:
            yield from self._prefetched(order, size)

    def _prefetched(self, order: Tensor, size: int) -> Iterator[Batch]:
        """Gather into pinned memory and copy on a stream of its own while the previous batch is computed."""
        stream = torch.cuda.Stream(self.device)
        pending: Batch | None = None
        for index in order.split(size):
            x = self.inputs.index_select(0, index).pin_memory()
            y = self.targets.index_select(0, index).pin_memory()
            with torch.cuda.stream(stream):
                following = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            if pending is not None:
                yield pending
            torch.cuda.current_stream(self.device).wait_stream(stream)
            for tensor in following:  # the allocator must not reuse them while the main stream still reads
                tensor.record_stream(torch.cuda.current_stream(self.device))
            inputs = self.pipeline(following[0]) if self.pipeline is not None else following[0]
            pending = _time_major(inputs), _time_major(following[1])
        if pending is not None:
            yield pending


@dataclass(frozen=True)
class RunData:
    """Everything a run reads: train sequences, and validation split into selection and report sequences."""

    train: Split
    select: Split
    report: Split
    pipeline: InputPipeline
    fingerprint: str
    report_fraction: float
    device: torch.device
    dataset: Dataset
    select_index: NDArray[np.int64]  # of the validation sequences that selection sees

    @staticmethod
    def prepare(
        dataset: Dataset, config: RunConfig, device: torch.device | str = "cpu", report_fraction: float = 0.25
    ) -> RunData:
        """Fit the input pipeline of `config` on the train rows and lay all sequences out for `device`.

        Features and normalisation are computed once, not per batch: the epoch then only gathers rows. Raw columns
        without a normaliser stay the memory-mapped array that every process on the machine shares.

        Raises `ConfigError` where the batch is larger than the data.
        """
        dataset.check_batch_size(config.batch_size)
        device = torch.device(device)
        pipeline = InputPipeline.fit(dataset.train.features, config.feature_groups(), config.normalizer, device)
        select, report = validation_split(len(dataset.valid), report_fraction)
        resident = device.type != "cuda" or fits(dataset, config, device)
        lay = _Layout(pipeline, device, resident)
        return RunData(
            train=lay.split(dataset.train, None),
            select=lay.split(dataset.valid, select),
            report=lay.split(dataset.valid, report),
            pipeline=pipeline,
            fingerprint=dataset.fingerprint,
            report_fraction=report_fraction,
            device=device,
            dataset=dataset,
            select_index=select,
        )


@dataclass(frozen=True)
class _Layout:
    pipeline: InputPipeline
    device: torch.device
    resident: bool

    def split(self, sequences: Sequences, index: NDArray[np.int64] | None) -> Split:
        raw, targets = sequences.features, sequences.targets[:, sequences.schema.warmup_steps :]
        if index is not None:
            raw, targets = raw[index], targets[index]
        untouched = not self.pipeline.groups and self.pipeline.normalizer is None
        if not self.resident:
            return Split(as_tensor(raw), as_tensor(targets), self.device, None if untouched else self.pipeline)
        if untouched:
            return Split(as_tensor(raw).to(self.device), as_tensor(targets).to(self.device), self.device)
        shape = (*raw.shape[:2], len(self.pipeline.names))
        inputs = own_pages(*shape) if self.device.type == "cpu" else torch.empty(*shape, device=self.device)
        for i in range(0, len(raw), CHUNK):
            inputs[i : i + CHUNK] = self.pipeline(as_tensor(raw[i : i + CHUNK]).to(self.device))
        return Split(inputs, as_tensor(targets).to(self.device), self.device)


def fits(dataset: Dataset, config: RunConfig, device: torch.device) -> bool:
    """Whether all inputs and targets of `config` find room on `device`, and leave as much for the training itself."""
    rows = (len(dataset.train) + len(dataset.valid)) * dataset.schema.sequence_length
    schema = dataset.schema
    columns = len(schema.features) + len(feature_names(config.feature_groups())) + len(schema.targets)
    return 4 * rows * columns <= RESIDENT_SHARE * free_memory(device)


def _time_major(x: Tensor) -> Tensor:
    """(B, T, F) -> (T, B, F), contiguous: the recurrent kernels read one step of the whole batch at a time."""
    return x.transpose(0, 1).contiguous()
