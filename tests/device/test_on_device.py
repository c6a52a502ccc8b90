"""A GPU computes what a CPU computes, in both precisions, wherever the data lies and the run began; a full GPU ends one
trial; several runs share one. Last, a table of ratios. `make gpu` needs some minutes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, load_dataset
from lobmodels.device import float32_arithmetic
from lobmodels.metric import weighted_pearson
from lobmodels.networks.gpu_recurrent import gru_on_gpu, usable_kernels
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from lobmodels.training.turns import Job
from search.work.events import Event
from search.work.options import WorkOptions
from search.work.worker import work
from tests.device.conftest import LONG
from tests.device.ratios import REAL, TINY, ratios, show
from tests.lobmodels.training.short_data import short_dataset
from tests.machines import create, small_study, trials

ARCHITECTURES = ("gru", "lstm", "gru_attention")
CPU = torch.device("cpu")
LARGE = 2048  # a hidden size that fits into no memory that is left


def sized(is_real: bool) -> tuple[Dataset, dict[str, Any]]:
    """Data and a configuration: for a GPU worth it, and otherwise tiny. Nothing in it is drawn while training."""
    fixed = {"attention_dropout": 0.0, "attention_heads": 2, "scheduler": "none", "grad_clip": 1.0, "dropout": 0.0}
    if is_real:
        large = {"hidden_size": 36, "num_layers": 2, "batch_size": 16, "lr": 5e-3, "epochs": 4}
        return short_dataset(64, 32, 400), fixed | large
    return short_dataset(6, 4), fixed | {"hidden_size": 6, "num_layers": 2, "batch_size": 3, "lr": 5e-3, "epochs": 3}


def start(dataset: Dataset, values: dict[str, Any], device: torch.device) -> TrainingRun:
    names = ("attention_dropout", "attention_heads")
    if values.get("architecture") != "gru_attention":
        values = {name: value for name, value in values.items() if name not in names}
    config = RunConfig.parse(values)
    return TrainingRun(config, 0, RunData.prepare(dataset, config, device))


def gradients(run: TrainingRun) -> dict[str, torch.Tensor]:
    """Of the first batch, in float32, on the CPU."""
    x, y = next(iter(run.data.train.batches(torch.arange(len(run.data.train)), 8)))
    with float32_arithmetic():
        run.loss(run.network(x)[99:], y).backward()
    return {name: p.grad.cpu() for name, p in run.network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients(gpu: torch.device, is_real: bool, architecture: str) -> None:
    """Gradients of equal weights on an equal batch agree with the CPU's to 1e-3 of their norm, in float32."""
    dataset, values = sized(is_real)
    here, there = (start(dataset, values | {"architecture": architecture}, place) for place in (CPU, gpu))
    there.network.load_state_dict(here.network.state_dict())
    ours, theirs = gradients(here), gradients(there)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        assert (gradient - theirs[name]).norm() <= 1e-3 * gradient.norm() + 1e-7, name


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "half"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores(gpu: torch.device, is_real: bool, architecture: str, amp: bool) -> None:
    """A few epochs lead to the score that they lead to on the CPU: nearly alike in float32, close in half precision."""
    dataset, values = sized(is_real)
    runs = [start(dataset, values | {"architecture": architecture, "amp": amp}, place) for place in (CPU, gpu)]
    for run in runs:
        while not run.finished:
            run.train_epoch()
    expected, found = (max(record.mean for record in run.history) for run in runs)
    assert found == pytest.approx(expected, abs=0.05 if amp else 0.02)
    assert runs[1].result().score == found


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "half"])
def test_resume(gpu: torch.device, is_real: bool, amp: bool) -> None:
    """A run begun on the CPU goes on here, and ends on the CPU."""
    dataset, values = sized(is_real)
    state = b""
    for place in (CPU, gpu, CPU):
        run = start(dataset, values | {"amp": amp, "ema_decay": 0.5}, place)
        if state:
            run.restore(state)
        run.train_epoch()
        state = run.state()
    assert run.epoch == 3 and run.history[-1].loss < run.history[0].loss * 1.1


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "half"])
def test_kept_epochs(gpu: torch.device, is_real: bool, amp: bool) -> None:
    """What two kept epochs predict together here is what they predict on the CPU, and the score is theirs."""
    dataset, values = sized(is_real)
    run = start(dataset, values | {"amp": amp, "snapshots": 2}, gpu)
    while not run.finished:
        run.train_epoch()
    found, raw = run.result(), dataset.valid.features
    assert len(found.epochs) == 2 and {tensor.device for tensor in found.epochs[0].weights.values()} == {CPU}
    assert abs(found.predict(raw, gpu) - found.predict(raw)).max() < 1e-4
    select = run.data.select_index
    expected = weighted_pearson(found.predict(raw)[select][:, 99:], dataset.valid.targets[select][:, 99:])
    assert found.score == pytest.approx(expected.mean(), abs=1e-4)


def test_streamed_data_is_resident_data(gpu: torch.device, is_real: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is the same whether the data lies on the GPU or comes from the host, raw or computed from."""
    dataset, values = sized(is_real)
    order = torch.randperm(len(dataset.train))
    for extra in ({}, {"derived": True, "lag": True, "normalizer": "zscore"}):
        runs = []
        for fits in (True, False):
            monkeypatch.setattr("lobmodels.training.batches.fits", lambda *_, fits=fits: fits)
            runs.append(start(dataset, values | extra, gpu))
            assert runs[-1].data.train.resident == fits
        pairs = zip(*(run.data.train.batches(order, 5) for run in runs), strict=True)
        assert all(torch.equal(x, other) for batch, others in pairs for x, other in zip(batch, others, strict=True))


def test_a_full_gpu_ends_one_trial(
    gpu: torch.device, is_real: bool, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that finds no memory fails alone, with its reason; the next trial of the worker completes."""
    large = LARGE if is_real else 5
    fixed = {"num_layers": 4 if is_real else 1, "batch_size": 12, "epochs": 1, "lr": {"float": [1e-3, 1e-2]}}
    spec = small_study(
        trials=2,
        parameters={**fixed, "hidden_size": {"choices": [4, large]}},
        baselines=[{"hidden_size": large, "lr": 1e-3}, {"hidden_size": 4, "lr": 1e-3}],
    )
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, spec)
    taken = []
    if is_real:  # leave six hundred megabytes; in pieces, since torch keeps a whole piece while any of it is used again
        while torch.cuda.mem_get_info(gpu)[0] > 900 << 20:
            size = min(1 << 30, torch.cuda.mem_get_info(gpu)[0] - (600 << 20))
            taken.append(torch.empty(size, dtype=torch.uint8, device=gpu))
    else:
        monkeypatch.setattr(TrainingRun, "_gradients", _short_of_memory(TrainingRun._gradients, large))
    work(url, "small", small_data, options=WorkOptions(device=str(gpu)))
    taken.clear()
    first, second = trials(url)
    assert first.state in (TrialState.FAIL, TrialState.PRUNED) and "out of memory" in first.user_attrs["reason"]
    assert second.state == TrialState.COMPLETE


def _short_of_memory(step: Any, size: int) -> Any:
    """`TrainingRun._gradients` on a device without room for networks of this size."""

    def limited(self: TrainingRun, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.config.hidden_size == size:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(self, x, y)

    return limited


@LONG
def test_runs_at_once(gpu: torch.device, is_real: bool, small_data: Path, tmp_path: Path) -> None:
    """A worker trains several runs at once, each on a stream of its own; each ends exactly where the run alone ends."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=2, epochs=2))
    events: list[Event] = []
    summary = work(
        url, "small", small_data, options=WorkOptions(device=str(gpu), runs_per_device=2), emit=events.append
    )
    assert summary.outcomes == {"complete": 2}
    assert {event.lane for event in events if event.kind == "epoch"} == {0, 1}
    for trial in trials(url):
        config = RunConfig.parse(trial.user_attrs["configuration"])
        alone = TrainingRun(config, trial.user_attrs["seed"], RunData.prepare(load_dataset(small_data), config, gpu))
        while not alone.finished:
            alone.train_epoch()
        assert trial.value == alone.history[alone.best_epoch].mean


def test_half_precision(gpu: torch.device, is_real: bool) -> None:
    """Outputs and gradients in half precision lie within .3 % of float64's, for one group of columns and for two."""
    steps, batch = (200, 48) if is_real else (12, 5)
    for size, layers in ((64, 3), (36, 2), (128, 2), (144, 2)) if is_real else ((6, 2),):
        network, x = torch.nn.GRU(32, size, layers), torch.randn(steps, batch, 32)
        direction = torch.randn(steps, batch, size)
        exact = torch.nn.GRU(32, size, layers).double()
        exact.load_state_dict({name: value.double() for name, value in network.state_dict().items()})
        expected = exact(x.double())[0]
        (expected * direction).sum().backward()
        network = network.to(gpu)
        with torch.autocast(gpu.type, torch.float16):
            found = gru_on_gpu(network, x.to(gpu)) if is_real else network(x.to(gpu))[0]
        (found.float() * direction.to(gpu)).sum().backward()
        assert not is_real or usable_kernels(size, gpu) is not None
        pairs = [(found.detach(), expected.detach())]
        pairs += [(a.grad, b.grad) for a, b in zip(network.parameters(), exact.parameters(), strict=True)]  # type: ignore[misc]
        for ours, theirs in pairs:
            assert (ours.cpu().double() - theirs).norm() <= 3e-3 * theirs.norm()


EACH = {
    "gru": {"hidden_size": 64, "num_layers": 3, "dropout": 0.2, "input_noise": 0.05},
    "gru, two groups of columns": {"hidden_size": 144, "num_layers": 2, "dropout": 0.1, "head": "mlp"},
    "lstm": {"architecture": "lstm", "hidden_size": 48, "num_layers": 2, "dropout": 0.2, "feature_dropout": 0.1},
    "attention": {"architecture": "gru_attention", "hidden_size": 64, "num_layers": 2, "attention_dropout": 0.1},
}


@pytest.mark.parametrize("network", EACH)
def test_each_of_several_is_the_run_alone(gpu: torch.device, is_real: bool, network: str) -> None:
    """Runs at once, each step launched as one recording, end bit for bit with the weights of a run alone whose steps
    are computed anew. One is stopped after its first epoch, and one goes on in its place from a stored state."""
    dataset = short_dataset(400, 32, 500) if is_real else short_dataset(10, 4)
    values = {"attention_heads": 2} if network == "attention" else {}
    small = {} if is_real else {"hidden_size": 12}
    shape = {"batch_size": 96, "epochs": 3} if is_real else {"batch_size": 2, "epochs": 2}
    config = RunConfig.parse(EACH[network] | values | small | shape)
    data = RunData.prepare(dataset, config, gpu)
    alone = TrainingRun(config, 0, data)
    alone.recorded = None
    lanes = [Side(config, data) for _ in range(8 if is_real else 3)]
    together([lane.epoch() for lane in lanes])
    stopped, *left = lanes
    alone.train_epoch()
    resumed = Side(config, data)
    with torch.cuda.stream(stopped.stream):
        state = stopped.run.state()
    with torch.cuda.stream(resumed.stream):
        resumed.run.restore(state)
    while not alone.finished:
        alone.train_epoch()
        together([lane.epoch() for lane in (*left, resumed)])
    torch.cuda.synchronize(gpu)
    expected = list(alone.network.parameters())
    for lane in (*left, resumed):
        assert not is_real or (lane.run.recorded is not None and lane.run.recorded.replay is not None)
        assert all(torch.equal(a, b) for a, b in zip(lane.run.network.parameters(), expected, strict=True))
        assert [record.scores for record in lane.run.history] == [record.scores for record in alone.history]


class Side:
    """A run beside others, on a stream of its own."""

    def __init__(self, config: RunConfig, data: RunData) -> None:
        self.stream = torch.cuda.Stream(data.device)
        with torch.cuda.stream(self.stream):
            self.run = TrainingRun(config, 0, data)

    def epoch(self) -> Job[None]:
        steps = self.run.steps()
        while True:
            with torch.cuda.stream(self.stream):
                if next(steps, steps) is steps:
                    return
            yield


def together(jobs: list[Job[None]]) -> None:
    """A step of each in turn, to the end of all."""
    while jobs:
        jobs = [job for job in jobs if next(job, jobs) is not jobs]


@LONG
def test_ratios(gpu: torch.device, is_real: bool) -> None:
    """Prints the table. On a real GPU the figures are worth reading; elsewhere they only have to be there."""
    size = REAL if is_real else TINY
    rows = ratios(gpu, size)
    assert len(rows) == 15 + 3 * len(size.at_once) and all(value > 0 for _, _, value in rows)
    if is_real:
        show(rows, gpu)
