"""What a GPU's owner wants to know: ratios measured in one process, each pair in turn, medians."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.networks import gpu_recurrent
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from lobmodels.training.throughput import epoch_seconds
from lobmodels.training.turns import result_of
from tests.benchmarks.test_training import bare, interleaved, ratio
from tests.lobmodels.training.short_data import short_dataset

NETWORKS = {"3x64": {"hidden_size": 64, "num_layers": 3}, "2x144": {"hidden_size": 144, "num_layers": 2}}
OTHERS = {
    "2x144": NETWORKS["2x144"],
    "2x64 with attention": {"architecture": "gru_attention", "hidden_size": 64, "num_layers": 2},
    "LSTM 3x64, dropout": {"architecture": "lstm", "hidden_size": 64, "num_layers": 3, "dropout": 0.2},
}


@dataclass(frozen=True)
class Size:
    """How much is computed: sequences of an epoch, those of a batch, steps of a sequence; the least seconds of a
    measurement, and how many runs at once are measured."""

    train: int
    batch: int
    steps: int
    seconds: float
    at_once: tuple[int, ...]


REAL, TINY = Size(768, 192, 1000, 2.0, (1, 2, 4, 8, 16)), Size(2, 2, 101, 0.0, (1, 2))
EPOCHS, BATCHES = 20, 56  # of a run on the challenge's 10,721 sequences, in batches of 192


def ratios(device: torch.device, size: Size) -> list[tuple[str, str, float]]:
    """Rows of (question, network, ratio)."""
    dataset = short_dataset(size.train, 4, size.steps)
    rows = []
    for name, network in NETWORKS.items():
        values = network | {"batch_size": size.batch, "epochs": 1000}
        config = RunConfig.parse(values)
        functions = {
            "ours": _epoch(config, dataset, device),
            "float32": _epoch(RunConfig.parse(values | {"amp": False}), dataset, device),
            "cudnn": _by_cudnn(lambda config=config: _epoch(config, dataset, device)),
            "attention": _epoch(RunConfig.parse(values | {"architecture": "gru_attention"}), dataset, device),
            "bare": bare(config, RunData.prepare(dataset, config, device, report_fraction=0.0)),
        }
        seconds = interleaved(functions)
        rows += [
            ("training epoch / the bare nn.GRU loop", name, ratio(seconds["ours"], seconds["bare"])),
            ("training epoch by cuDNN's GRU / by ours", name, ratio(seconds["cudnn"], seconds["ours"])),
            ("half precision / float32", name, ratio(seconds["ours"], seconds["float32"])),
            ("attention / its gru", name, ratio(seconds["attention"], seconds["ours"])),
            ("milliseconds a batch", name, 1000 * float(np.median(seconds["ours"])) * size.batch / size.train),
        ]
    rows += _runs_at_once(dataset, device, size)
    rows += _others_at_once(dataset, device, size)
    rows += _as_one(dataset, device, size)
    rows += _networks_at_once(device, size)
    return rows


def _epoch(config: RunConfig, dataset: Dataset, device: torch.device) -> Callable[[], float]:
    run = TrainingRun(config, 0, RunData.prepare(dataset, config, device, report_fraction=0.0))
    return lambda: run.train_epoch().train_seconds


def _by_cudnn(make: Callable[[], Callable[[], float]]) -> Callable[[], float]:
    """What `make` returns, computed without our kernels."""

    def none(*_: object) -> None:
        return None

    def inside(function: Callable[[], Any]) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gpu_recurrent, "usable_kernels", none)
            return function()

    made = inside(make)
    return lambda: float(inside(made))


def _runs_at_once(dataset: Dataset, device: torch.device, size: Size) -> list[tuple[str, str, float]]:
    """Runs an hour of a worker with K runs at once (`--runs-per-device K`), and how many times those of one at a time:
    each K is measured right after K = 1, so that a warm card is compared with a warm card."""
    config = RunConfig.parse(NETWORKS["3x64"] | {"batch_size": size.batch})
    data = RunData.prepare(dataset, config, device, report_fraction=0.0)
    batches = size.train // size.batch

    def seconds(count: int) -> float:
        found = result_of(epoch_seconds(config, data, count, size.seconds))
        return found / batches * BATCHES * EPOCHS  # of one run on the challenge's data, validation left out

    by_cudnn = _by_cudnn(lambda: lambda: seconds(1))()
    rows = [("runs an hour, one at a time by cuDNN", "3x64", 3600 / by_cudnn)]
    for count in size.at_once:
        alone, together = seconds(1), seconds(count)
        rows += [(f"runs an hour, {count} at once", "3x64", 3600 / together)]
        rows += [(f"runs an hour, {count} at once / one at a time", "3x64", alone / together)]
    return rows


def _others_at_once(dataset: Dataset, device: torch.device, size: Size) -> list[tuple[str, str, float]]:
    """How many times the runs an hour of one at a time, for other networks, with half of the most runs at once."""
    count, rows = size.at_once[-2], []
    for name, network in OTHERS.items():
        config = RunConfig.parse(network | {"batch_size": size.batch})
        data = RunData.prepare(dataset, config, device, report_fraction=0.0)
        alone, together = (result_of(epoch_seconds(config, data, k, size.seconds / 2)) for k in (1, count))
        rows.append((f"runs an hour, {count} at once / one at a time", name, alone / together))
    return rows


def _as_one(dataset: Dataset, device: torch.device, size: Size) -> list[tuple[str, str, float]]:
    """How much replicates that are trained as one could gain at most: one run whose batch holds those of several does
    the products that theirs would be, and shares the weights besides."""
    config = RunConfig.parse(NETWORKS["3x64"] | {"batch_size": size.batch})
    data = RunData.prepare(dataset, config, device, report_fraction=0.0)
    count = size.train // size.batch
    together = result_of(epoch_seconds(config, data, count, size.seconds))
    whole = config.model_copy(update={"batch_size": size.train})
    as_one = result_of(epoch_seconds(whole, data, 1, size.seconds))  # an epoch is one step of `count` runs
    return [(f"{count} runs at once / as one of {count} times the batch", "3x64", together / as_one)]


def _networks_at_once(device: torch.device, size: Size) -> list[tuple[str, str, float]]:
    """How many times the bare networks a second of one alone, for several in one process with a stream each."""
    functions = {str(count): _streams(count, device, size) for count in size.at_once}
    seconds = interleaved(functions)
    alone = seconds["1"]
    return [
        (f"throughput of {k} bare nn.GRU at once / one", "3x64", int(k) * ratio(alone, seconds[k])) for k in functions
    ]


def _streams(count: int, device: torch.device, size: Size) -> Callable[[], float]:
    """Seconds of one forward and backward pass of `count` nn.GRU(32, 64, 3) in half precision, issued in turn."""
    x = torch.randn(size.steps, size.batch, 32, device=device)
    networks = [nn.GRU(32, 64, 3).to(device) for _ in range(count)]
    on_gpu = device.type == "cuda"
    streams: list[Any] = [torch.cuda.Stream(device) if on_gpu else None for _ in range(count)]

    def once() -> float:
        start = time.perf_counter()
        for network, stream in zip(networks, streams, strict=True):
            with torch.cuda.stream(stream), torch.autocast(device.type, torch.float16, enabled=on_gpu):
                loss = network(x)[0].square().mean()
            with torch.cuda.stream(stream):
                loss.backward()
        if on_gpu:
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return once


def show(rows: list[tuple[str, str, float]], device: torch.device) -> None:
    """Print the rows."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    table = Table(title=f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    for column in ("ratio", "network", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for question, network, value in rows:
        table.add_row(question, network, f"{value:.2f}")
    Console(width=80).print(table)
