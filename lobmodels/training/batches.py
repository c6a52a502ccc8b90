"""Where sequences live while a run trains: on its device where they fit, otherwise in host memory, sent as batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, Partition, SplitRule
from lobmodels.data.partition import FIXED
from lobmodels.data.sequences import Rows, check_batch_size
from lobmodels.data.splits import Indices
from lobmodels.device import memory_errors, resolve_device
from lobmodels.inputs import InputPipeline, as_tensor, chunk_of
from lobmodels.own_features import names_of
from lobmodels.training.host import free_memory, own_pages
from lobmodels.training.streaming import streamed

Batch = tuple[Tensor, Tensor]  # inputs (T, B, F), targets of the scored steps (S, B, K)
RESIDENT_SHARE = 0.5  # of the free memory that inputs may take; the rest is for the network's activations


@dataclass(frozen=True)
class Split:
    """Sequences of one role, ready to be batched by index: `targets` (N, S, K) are those of the scored steps.

    Resident: `inputs` (N, T, F) float32 and `targets` lie on `device`. Otherwise both stay in host memory, `inputs` are
    raw (N, T, columns), and `pipeline` is applied to each batch on the device.

    Behind the end of a shorter sequence targets are NaN; a batch is cut to the longest of its sequences.
    """

    inputs: Tensor
    targets: Tensor
    device: torch.device
    pipeline: InputPipeline
    resident: bool
    lengths: Tensor | None = None  # (N,) on the CPU, where sequences differ in length

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, order: Tensor, size: int) -> Iterator[Batch]:
        """Batches of `size` sequences in `order` (a CPU index tensor), the last one possibly smaller."""
        if self.lengths is None:
            yield from self._whole(order, size)
            return
        padding = self.inputs.shape[1] - self.lengths
        for index, (x, y) in zip(order.split(size), self._whole(order, size), strict=True):
            empty = int(padding[index].min())  # steps that no sequence of the batch has
            yield x[: len(x) - empty], y[: len(y) - empty]

    def _whole(self, order: Tensor, size: int) -> Iterator[Batch]:
        if not self.resident:
            prepare = self.pipeline.on(self.device)
            yield from streamed(
                (self.inputs, self.targets), order, size, self.device, lambda x, y: _time_major(prepare(x), y)
            )
            return
        for index in order.to(self.device).split(size):
            yield self.gather(index)

    def gather(self, index: Tensor) -> Batch:
        """The batch of the sequences `index`, which lies on the device like them; for resident data."""
        return _time_major(self.inputs.index_select(0, index), self.targets.index_select(0, index))


@dataclass(frozen=True)
class RunData:
    """Everything a run reads: the sequences that train, those that select, and those that only report."""

    train: Split
    select: Split
    report: Split
    pipeline: InputPipeline
    fingerprint: str
    rule: SplitRule
    device: torch.device
    dataset: Dataset
    partition: Partition

    @staticmethod
    def prepare(
        dataset: Dataset,
        config: RunConfig,
        device: torch.device | str = "cpu",
        report_fraction: float = 0.25,
        rule: SplitRule | None = None,
    ) -> RunData:
        """Fit the input pipeline of `config` on the train rows and lay all sequences out for `device`.

        `rule` divides the sequences; without it they are split as the files are, and `report_fraction` of the
        validation sequences only report. Features and normalisation are computed once, not per batch: the epoch then
        only gathers rows. With the fixed split, raw columns without a normaliser stay the memory-mapped array that
        every process on the machine shares.

        Raises `ConfigError` where the batch is larger than the data, `DataError` where the data is too small for the
        rule, `DeviceError` for a device that is not there,
        `DeviceMemoryError` where it has too little memory.
        """
        rule = rule or SplitRule(report_fraction)
        partition = dataset.partition(rule)
        check_batch_size(config.batch_size, partition)
        device = resolve_device(device)
        with memory_errors(device):
            rows, schema = dataset.features(partition.train), dataset.schema
            lengths = dataset.lengths(partition.train) if schema.variable_length else None
            inputs = (config.feature_groups(), config.normalizer, schema)
            pipeline = InputPipeline.fit(rows, *inputs, device, lengths, config.feature_settings())
            lay = _Layout(dataset, pipeline, device, device.type == "cpu" or fits(dataset, config, device))
            laid = RunData(
                train=lay.split(partition.train),
                select=lay.split(partition.select),
                report=lay.split(partition.report),
                pipeline=pipeline,
                fingerprint=dataset.fingerprint,
                rule=rule,
                device=device,
                dataset=dataset,
                partition=partition,
            )
            if device.type == "cuda":  # other runs read it on streams of their own, which do not wait for this one
                torch.cuda.current_stream(device).synchronize()
            return laid

    @property
    def report_fraction(self) -> float:
        """Share of the validation sequences that only report."""
        return self.rule.report_fraction

    @property
    def select_index(self) -> NDArray[np.int64]:
        """Which of valid.parquet's sequences select."""
        select = self.partition.select - len(self.dataset.train)
        return select[select >= 0]

    @property
    def shared(self) -> bool:
        """Whether the train inputs are the memory-mapped arrays that every process of the machine shares, rather than
        memory of this process or of the device."""
        mapped = self.device.type == "cpu" and self.pipeline.identity and self.rule.kind == FIXED
        return not self.train.resident or mapped


@dataclass(frozen=True)
class _Layout:
    dataset: Dataset
    pipeline: InputPipeline
    device: torch.device
    resident: bool

    def split(self, index: Indices) -> Split:
        raw, schema = self.dataset.features(index), self.dataset.schema
        targets = as_tensor(self.dataset.targets(index)[:][:, schema.warmup_steps :])
        lengths = torch.from_numpy(self.dataset.lengths(index)) if schema.variable_length else None
        if not self.resident:
            return Split(as_tensor(raw[:]), targets, self.device, self.pipeline, False, lengths)
        inputs = as_tensor(raw[:]).to(self.device) if self.pipeline.identity else self._computed(raw)
        return Split(inputs, targets.to(self.device), self.device, self.pipeline, True, lengths)

    def _computed(self, raw: Rows) -> Tensor:
        """Raw (N, T, columns) to inputs (N, T, F) on the device, a few sequences at a time."""
        shape = (*raw.shape[:2], len(self.pipeline.names))
        inputs = own_pages(*shape) if self.device.type == "cpu" else torch.empty(*shape, device=self.device)
        prepare, count = self.pipeline.on(self.device), chunk_of(self.device)
        for i in range(0, len(raw), count):
            inputs[i : i + count] = prepare(as_tensor(raw[i : i + count]).to(self.device))
        return inputs


def fits(dataset: Dataset, config: RunConfig, device: torch.device) -> bool:
    """Whether all inputs and targets of `config` find room on `device`, and leave as much for the training itself."""
    rows = sum(part.features.shape[0] * part.features.shape[1] for part in (dataset.train, dataset.valid))
    schema = dataset.schema
    columns = len(schema.features) + len(names_of(config.feature_groups())) + len(schema.targets)
    return 4 * rows * columns <= RESIDENT_SHARE * free_memory(device)


def _time_major(x: Tensor, y: Tensor) -> Batch:
    """(B, T, ...) -> (T, B, ...), contiguous: the recurrent kernels read one step of the whole batch at a time."""
    return x.transpose(0, 1).contiguous(), y.transpose(0, 1).contiguous()
