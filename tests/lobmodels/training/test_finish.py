"""A run that is over, in two parts: one on the device, in turns with other runs; one that needs the host alone."""

import pytest
import torch

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.errors import TrainingError
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from lobmodels.training.turns import result_of
from tests.lobmodels.training.fake_cuda import FakeCuda
from tests.lobmodels.training.short_data import short_dataset


def ended(device: str) -> TrainingRun:
    config = RunConfig.parse({"hidden_size": 6, "num_layers": 1, "batch_size": 3, "epochs": 2, "amp": False})
    run = TrainingRun(config, 3, RunData.prepare(short_dataset(), config, device))
    while not run.finished:
        run.train_epoch()
    return run


def test_the_second_part_needs_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes nothing on the GPU and waits for nothing there, and makes the checkpoint that a CPU makes."""
    with FakeCuda(monkeypatch) as cuda:
        finished = result_of(ended("cuda:1").finish())
        before = len(cuda.kernels), len(cuda.syncs)
        found = finished.checkpoint("gpu")
        assert (len(cuda.kernels), len(cuda.syncs)) == before
    expected = ended("cpu").result("gpu")
    for part, scores in expected.scores.items():
        assert found.scores[part] == pytest.approx(scores, abs=1e-4)
    assert found.prediction_std == pytest.approx(expected.prediction_std, rel=1e-3)
    assert [b["rows"] for b in found.diagnostics["shift_buckets"]] == [
        b["rows"] for b in expected.diagnostics["shift_buckets"]
    ]
    assert Checkpoint.from_bytes(found.to_bytes()).name == "gpu"


def test_the_run_can_go_on() -> None:
    """The weights that were trained last are in their place again."""
    run = ended("cpu")
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.result()
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items())


def test_a_run_without_an_epoch_has_none() -> None:
    """Told before anything is computed."""
    config = RunConfig.parse({"hidden_size": 6, "num_layers": 1, "batch_size": 3})
    with pytest.raises(TrainingError, match="without an epoch"):
        TrainingRun(config, 0, RunData.prepare(short_dataset(), config)).result()
