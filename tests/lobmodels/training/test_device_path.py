"""The whole way of a run on a GPU, walked on a machine without one: every recipe, resident and streamed, stored and
restored on another device. `fake_cuda.py` says what is real in it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import FEATURE_FLAGS, RunConfig
from lobmodels.data import Dataset
from lobmodels.metric import score, weighted_pearson
from lobmodels.networks.network import ARCHITECTURES, HEADS, INPUT_BLOCKS
from lobmodels.plugins.loading import load_file
from lobmodels.registry import Registry
from lobmodels.serialization import unpack
from lobmodels.training.batches import RunData
from lobmodels.training.losses import LOSSES
from lobmodels.training.run import TrainingRun
from lobmodels.training.scores import score_for
from tests.lobmodels.training.fake_cuda import FakeCuda
from tests.lobmodels.training.short_data import STEPS, short_dataset
from tests.plugin_files import blocks_of_files, forgotten

BASE = {"hidden_size": 12, "num_layers": 2, "batch_size": 3, "epochs": 2, "lr": 3e-3}
ALL_GROUPS = dict.fromkeys(FEATURE_FLAGS, True)
RECIPES: dict[str, dict[str, Any]] = {
    "gru": {"loss": "mse", "scheduler": "none", "amp": False},
    "gru, amp": {"input_block": "projection", "head": "mlp", "loss": "huber", "scheduler": "onecycle"},
    "lstm": {"architecture": "lstm", "loss": "weighted_mse", "scheduler": "cosine", "amp": False},
    "lstm, amp": {"architecture": "lstm", "head": "mlp", "loss": "combined", "grad_clip": 0.0, "normalizer": "zscore"},
    "attention": {"architecture": "gru_attention", "attention_window": 40, "amp": False, "attention_dropout": 0.0},
    "attention, amp": {"architecture": "gru_attention", "attention_window": 9, "loss": "pearson_combined"},
    "features": {**ALL_GROUPS, "normalizer": "zscore", "loss": "weighted_pearson", "amp": False},
    "features, amp": {**ALL_GROUPS, "temporal_consistency": 0.2, "t1_weight": 2.0, "architecture": "gru_attention"},
    "convolution": {"input_block": "convolution", "head": "mlp_per_target", "target_clip": 1.0, "amp": False},
    "convolution, amp": {"input_block": "convolution", "head": "mlp_per_target", "loss": "weighted_huber"},
    "last epochs": {"ema_decay": 0.9, "ema_ramp": True, "swa_epochs": 2, "amp": False},
    "snapshots": {"snapshots": 2, "amp": False},
    "snapshots, amp": {"epoch_per_target": True, "snapshots": 2, "architecture": "lstm"},
    "augmented, averaged": {"input_noise": 0.1, "feature_dropout": 0.2, "ema_decay": 0.9, "dropout": 0.2, "amp": False},
    "augmented, averaged, amp": {"input_noise": 0.1, "feature_dropout": 0.2, "ema_decay": 0.9, "dropout": 0.2},
}
LIES = {"resident": 1 << 34, "streamed": 0}  # free memory of the GPU


CPU, GPU, OTHER = torch.device("cpu"), torch.device("cuda:0"), torch.device("cuda:1")


@cache
def dataset() -> Dataset:
    return short_dataset()


def start(device: torch.device | str, **values: Any) -> TrainingRun:
    config = RunConfig.parse(BASE | values)
    return TrainingRun(config, 3, RunData.prepare(dataset(), config, device))


def ended(run: TrainingRun) -> TrainingRun:
    while not run.finished:
        run.train_epoch()
    return run


def scores(run: TrainingRun) -> list[float]:
    return [value for record in run.history for value in (record.loss, *record.scores.values(), record.grad_norm)]


@dataclass
class Walk:
    """A run on the second GPU from its beginning to its checkpoint, and what was seen on the way."""

    run: TrainingRun
    checkpoint: Checkpoint
    devices: set[torch.device]  # of parameters, averages and kept weights
    waits: list[list[str]]  # of the two parts of each step
    between: list[int]  # waits of the host up to each pause of the second epoch
    on_gpu: np.ndarray  # predictions of the checkpoint there


@cache
def walk(recipe: str, lies: str) -> Walk:
    with pytest.MonkeyPatch.context() as patch, FakeCuda(patch, free=LIES[lies]) as cuda:
        run = start(OTHER, **RECIPES[recipe])
        waits: list[list[str]] = []

        def watched(part: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
            def call(*tensors: torch.Tensor) -> torch.Tensor:
                before = len(cuda.syncs)
                result = part(*tensors)
                waits.append(cuda.syncs[before:])
                return result

            return call

        run._gradients, run._step = watched(run._gradients), watched(run._step)  # type: ignore[method-assign]
        run.train_epoch()
        between = [len(cuda.syncs) for _ in run.steps()]
        result = run.result("gpu")
        assert {weight.device for single in result.singles for weight in single.weights.values()} == {CPU}
        checkpoint = Checkpoint.from_bytes(result.to_bytes())
        weights = [*run.network.parameters(), *run.averages.evaluated.parameters(), *run.kept.tensors().values()]
        devices = {weight.device for weight in weights}
        return Walk(run, checkpoint, devices, waits, between, checkpoint.predict(dataset().valid.features, GPU))


# In every run each recipe with its data on the GPU, and half of them with data that is streamed.
every_walk = [
    pytest.param(
        *(recipe, lies),
        id=f"{recipe}, {lies}",
        marks=[] if lies == "resident" or "amp" in recipe else pytest.mark.soak,
    )
    for recipe in RECIPES
    for lies in LIES
]


def test_every_choice_is_walked() -> None:
    """A choice that is added to the configuration needs a recipe here; each architecture needs two, by precision."""
    hints = get_type_hints(RunConfig)
    for name in ("architecture", "input_block", "head", "normalizer", "loss", "scheduler"):
        walked = {getattr(RunConfig.parse(BASE | values), name) for values in RECIPES.values()}
        assert walked == set(get_args(hints[name])), name
    for amp in (True, False):
        configs = [RunConfig.parse(BASE | values) for values in RECIPES.values() if values.get("amp", True) == amp]
        assert {config.architecture for config in configs} == set(get_args(hints["architecture"]))


@pytest.mark.parametrize(("recipe", "lies"), every_walk)
def test_a_run_from_begin_to_end(recipe: str, lies: str) -> None:
    """Training, validation, the average, diagnostics and the checkpoint work on the GPU that was named, resident or
    streamed, and an epoch's record holds numbers alone."""
    walked = walk(recipe, lies)
    assert walked.devices == {OTHER}
    assert walked.run.data.train.resident == (lies == "resident")
    assert sum(entry["rows"] for entry in walked.checkpoint.diagnostics["shift_buckets"]) == 5 * 6 * (STEPS - 99)
    assert len(walked.checkpoint.history) == 2
    assert all(type(value) in (int, float) for value in walked.run.history[0].document().values())


@pytest.mark.parametrize("recipe", RECIPES)
def test_numbers_are_those_of_a_cpu(recipe: str) -> None:
    """The run on the GPU is the run on the CPU: up to rounding in float32, nearly in half precision. Where the data
    lies changes no number."""
    run, streamed = walk(recipe, "resident").run, walk(recipe, "streamed").run
    assert scores(run) == scores(streamed)
    config = run.config
    if config.dropout or (config.architecture == "gru_attention" and config.attention_dropout):
        return  # drawn by other kernels in another order
    cpu = ended(start(CPU, **RECIPES[recipe]))
    assert scores(run) == pytest.approx(scores(cpu), rel=0.05 if run.amp else 1e-3, abs=0.02 if run.amp else 1e-4)


@pytest.mark.parametrize(("recipe", "lies"), every_walk)
def test_scores_are_the_submissions_arithmetic(recipe: str, lies: str) -> None:
    """Selection, report and diagnostics are computed in float32 although the run trains in half precision: the stored
    weights give the stored scores on a CPU."""
    walked = walk(recipe, lies)
    assert walked.run.scaler.is_enabled() == walked.run.config.amp
    valid, select = dataset().valid, walked.run.data.select_index
    predictions = walked.checkpoint.predict(valid.features)
    report = np.setdiff1d(np.arange(len(valid)), select)
    for name, index in (("select", select), ("report", report)):
        expected = weighted_pearson(predictions[index][:, 99:], valid.targets[index][:, 99:])
        stored = walked.checkpoint.scores[name]
        assert stored is not None
        assert [stored["t0"], stored["t1"]] == pytest.approx(list(expected), abs=1e-5)
    assert np.abs(predictions - walked.on_gpu).max() < 1e-5


@pytest.mark.parametrize(("recipe", "lies"), every_walk)
def test_a_step_waits_for_nothing(recipe: str, lies: str) -> None:
    """Neither a step nor what lies between two steps makes the host wait for the device."""
    walked = walk(recipe, lies)
    recorded = walked.run.recorded is not None
    assert walked.waits == [[]] * (16 + recorded)  # the step that is recorded is gone through twice
    assert recorded == (walked.run.amp and lies == "resident" and not walked.run.config.dropout)  # drawn by cuDNN
    assert len(walked.between) == 4 and len(set(walked.between)) == 1


@pytest.mark.parametrize("recipe", ["gru", "lstm, amp", "attention, amp", "snapshots, amp", "augmented, averaged, amp"])
@pytest.mark.parametrize(("first", "then"), [(CPU, GPU), (GPU, CPU), (GPU, OTHER)], ids=str)
def test_a_state_goes_on_elsewhere(
    first: torch.device, then: torch.device, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stored on one device goes on on another: what is restored is what was stored, tensor by tensor, and it lies
    where the run computes; the epoch after it is near that of the undisturbed run."""
    with FakeCuda(monkeypatch):
        stored, moved = (start(device, **RECIPES[recipe]) for device in (first, then))
        stored.train_epoch()
        moved.restore(stored.state())
        assert moved.history == stored.history and moved.schedule.lr == stored.schedule.lr
        before, after = (unpack(run.state(), "it")[0] for run in (stored, moved))
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
        held = [*moved.network.parameters(), *moved.kept.tensors().values(), *moved.averages.evaluated.parameters()]
        held += [value for slots in moved.optimizer.state.values() for value in slots.values()]
        assert {tensor.device for tensor in held} == {then}
        for run in (stored, moved):
            run.train_epoch()
        assert moved.finished and moved.result().best_epoch == moved.best_epoch
        assert moved.history[-1].loss == pytest.approx(stored.history[-1].loss, rel=0.1)


@pytest.mark.parametrize("free", LIES.values())
def test_cuda_without_a_number(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """`cuda` is the current GPU, whichever that is: the run's device is that of its tensors."""
    with FakeCuda(monkeypatch, free=free, current=1):
        run = start("cuda", **RECIPES["gru"])
        run.train_epoch()
        assert run.device == next(run.network.parameters()).device == OTHER


@pytest.mark.parametrize("lies", LIES)
def test_features_and_a_metric_of_plugins(lies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's features are computed where the data lies, resident or streamed, and give what they give on a CPU; the
    rows that a user's metric reads are gathered there, and its score is put back there."""
    values = {"depth": True, "pressure": True, "half_life": 5.0, "normalizer": "zscore", "amp": False}
    with forgotten():
        for name in ("pressure.py", "gain.py"):
            (tmp_path / name).write_text(blocks_of_files()[name])
            load_file(tmp_path / name)
        expected = scores(ended(start(CPU, **values)))
        schema = replace(dataset().schema, metric="gain")
        p, y = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0))
        with FakeCuda(monkeypatch, free=LIES[lies]):
            assert scores(ended(start(OTHER, **values))) == pytest.approx(expected, abs=1e-5)
            gathered = score_for(schema, OTHER)
            gathered.update(p.to(OTHER), y.to(OTHER))
            found = gathered.compute()
            assert found.device == OTHER
            assert found.cpu().numpy() == pytest.approx(score(p.numpy(), y.numpy(), schema), abs=1e-12)


@pytest.mark.parametrize("capability", [(7, 5), (8, 0)])
def test_dropout_between_layers_of_an_lstm(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """From Ampere on it is drawn from the run's own stream, so that steps can be recorded: the recorded run is the run
    whose steps are computed anew."""
    values = {"architecture": "lstm", "dropout": 0.3, "epochs": 2}
    with FakeCuda(monkeypatch) as cuda:
        cuda.capability = capability
        recorded, issued = start(OTHER, **values), start(OTHER, **values)
        assert (recorded.recorded is not None) == (capability >= (8, 0))
        issued.recorded = None
        assert scores(ended(recorded)) == scores(ended(issued))


@pytest.mark.parametrize("table", [LOSSES, ARCHITECTURES, INPUT_BLOCKS, HEADS])
def test_parts_of_a_plugin_are_not_recorded(monkeypatch: pytest.MonkeyPatch, table: Registry[Any]) -> None:
    """Nobody knows that they launch the same each time."""
    with FakeCuda(monkeypatch):
        assert start(GPU).recorded is not None
        name = getattr(RunConfig.parse(BASE), table.kind.replace(" ", "_"))
        before = table[name]
        monkeypatch.setattr(table, "_plugged", set[str]())
        table.replace(name, before)
        assert start(GPU).recorded is None
