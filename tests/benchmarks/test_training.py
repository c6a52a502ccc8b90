"""How close an epoch is to the bare network, and how far from the usual loop. Ratios measured in one run.

(a) the training part of our epoch / the bare nn.GRU or nn.LSTM forward + backward + optimiser step on the same tensors
(b) our whole epoch / Dataset + DataLoader + boolean-mask loss + metric on the host
(c) the attention network's epoch / its GRU's epoch
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.metric import weighted_pearson
from lobmodels.training.batches import RunData
from lobmodels.training.host import tune_host
from lobmodels.training.run import TrainingRun

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
CASES = {
    f"{cell} h={hidden} {layers} layers, batch {batch}": {
        "architecture": cell, "hidden_size": hidden, "num_layers": layers, "batch_size": batch, "epochs": 1000
    }
    for cell in ("gru", "lstm")
    for hidden, layers in ((64, 3), (144, 2))
    for batch in (32, 192)
}  # fmt: skip
CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}
ROUNDS = 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """One batch of 192 and a validation set in the full set's proportion: an epoch in miniature."""
    from lobmodels.data import load_dataset
    from lobmodels.data.synthetic import write_dataset

    folder = tmp_path_factory.mktemp("bench")
    write_dataset(folder, train=192, valid=26, seed=0)
    return load_dataset(folder)


def interleaved(functions: dict[str, Callable[[], float]]) -> dict[str, np.ndarray]:
    """Seconds of each function, run in turn so that a slow moment of the machine hits all alike, (ROUNDS,) each."""
    for function in functions.values():
        function()
    rounds = [[function() for function in functions.values()] for _ in range(ROUNDS)]
    return dict(zip(functions, np.array(rounds).T, strict=True))


def ratio(times: np.ndarray, others: np.ndarray) -> float:
    """Median over the rounds."""
    return float(np.median(times / others))


def bare(config: RunConfig, data: RunData) -> Callable[[], float]:
    """Seconds of nn.GRU or nn.LSTM + linear head on ready tensors: forward, sum of squares, backward, fused AdamW."""
    gru = CELLS[config.architecture](32, config.hidden_size, config.num_layers).to(data.device)
    head = nn.Linear(config.hidden_size, 2).to(data.device)
    parameters = [*gru.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, fused=True)
    batches = list(data.train.batches(torch.arange(len(data.train)), config.batch_size))
    amp = data.device.type == "cuda"
    scaler = torch.amp.GradScaler(data.device.type, enabled=amp)

    def step() -> float:
        start = time.perf_counter()
        for x, _ in batches:
            with torch.autocast(data.device.type, torch.float16, enabled=amp):
                loss = head(gru(x)[0]).square().mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        if amp:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return step


def usual(config: RunConfig, dataset: Dataset, device: torch.device) -> Callable[[], float]:
    """Seconds of an epoch as notebooks write it: a Dataset, a DataLoader, a mask, predictions gathered on the host."""

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self, sequences) -> None:  # type: ignore[no-untyped-def]
            self.sequences = sequences

        def __len__(self) -> int:
            return len(self.sequences)

        def __getitem__(self, i: int):  # type: ignore[no-untyped-def]
            mask = np.arange(1000) >= 99
            s = self.sequences
            return torch.from_numpy(np.array(s.features[i])), torch.from_numpy(np.array(s.targets[i])), mask

    loaders = [torch.utils.data.DataLoader(Rows(s), config.batch_size) for s in (dataset.train, dataset.valid)]
    gru = CELLS[config.architecture](32, config.hidden_size, config.num_layers, batch_first=True).to(device)
    head = nn.Linear(config.hidden_size, 2).to(device)
    optimizer = torch.optim.AdamW([*gru.parameters(), *head.parameters()])

    def epoch() -> float:
        start = time.perf_counter()
        for x, y, mask in loaders[0]:
            x, y, mask = x.to(device), y.to(device), mask.to(device)
            loss = nn.functional.mse_loss(head(gru(x)[0])[mask], y[mask])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*gru.parameters(), *head.parameters()], 1.0)
            optimizer.step()
            loss.item()
        predictions, targets = [], []
        with torch.no_grad():
            for x, y, mask in loaders[1]:
                p = head(gru(x.to(device))[0])
                predictions.append(p[mask.to(device)].cpu().numpy())
                targets.append(y[mask].numpy())
        weighted_pearson(np.concatenate(predictions), np.concatenate(targets))
        return time.perf_counter() - start

    return epoch


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_epoch(dataset: Dataset, case: str, device: str) -> None:
    """Prints (a) and (b), medians of ROUNDS ratios."""
    tune_host(1)  # as a worker is
    config = RunConfig.parse(CASES[case])
    data = RunData.prepare(dataset, config, device, report_fraction=0.0)
    run = TrainingRun(config, 0, data)
    training: list[float] = []

    def epoch() -> float:
        record = run.train_epoch()
        training.append(record.train_seconds)
        return record.seconds

    times = interleaved({"ours": epoch, "bare": bare(config, data), "usual": usual(config, dataset, data.device)})
    trained = np.array(training[1:])
    seconds = float(np.median(trained)) * config.batch_size / len(data.train)
    Console(width=120).print(
        f"{case} on {device}, {torch.get_num_threads()} thread: (a) ours/bare {ratio(trained, times['bare']):.2f}, "
        f"(b) ours/usual {ratio(times['ours'], times['usual']):.2f}; {seconds:.2f} s a batch"
    )


@pytest.mark.parametrize("device", DEVICES)
def test_attention(dataset: Dataset, device: str) -> None:
    """Prints (c)."""
    tune_host(1)
    runs = {}
    for architecture in ("gru", "gru_attention"):
        config = RunConfig.parse(CASES["gru h=64 3 layers, batch 192"] | {"architecture": architecture})
        runs[architecture] = TrainingRun(config, 0, RunData.prepare(dataset, config, device, report_fraction=0.0))
    times = interleaved({name: lambda run=run: run.train_epoch().seconds for name, run in runs.items()})
    slower = ratio(times["gru_attention"], times["gru"])
    Console(width=120).print(
        f"(c) attention over {config.attention_window} steps / its gru h=64 3 layers: {slower:.2f}"
    )
