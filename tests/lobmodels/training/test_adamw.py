"""The optimiser is torch's AdamW in every bit, and a run trains without the compiler that torch's own imports."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lobmodels.training.adamw import AdamW

ROOT = Path(__file__).parents[3]
RUN = """
import sys
from pathlib import Path
from lobmodels.config import RunConfig
from lobmodels.data import load_dataset
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
config = RunConfig.parse({"hidden_size": 4, "num_layers": 1, "batch_size": 12, "epochs": 2, "scheduler": "onecycle"})
run = TrainingRun(config, 1, RunData.prepare(load_dataset(Path(sys.argv[1])), config, "cpu"))
run.train_epoch()
again = TrainingRun(config, 1, run.data)
again.restore(run.state())
again.train_epoch()
assert "torch._dynamo" not in sys.modules, "more than a second of every worker's start"
"""


def trained(optimizer: type[torch.optim.AdamW], steps: int, fused: bool) -> tuple[list[torch.Tensor], dict]:  # type: ignore[type-arg]
    """Parameters and optimiser state after so many steps, the second half by an optimiser that took the state over."""
    torch.manual_seed(5)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    x, y = torch.randn(32, 6), torch.randn(32, 2)
    settings = {"lr": 1e-2, "weight_decay": 0.1, "fused": fused}
    used = optimizer(network.parameters(), **settings)
    for step in range(steps):
        if step == steps // 2:
            state, used = used.state_dict(), optimizer(network.parameters(), **settings)
            used.load_state_dict(state)
        used.zero_grad(set_to_none=True)
        nn.functional.mse_loss(network(x), y).backward()
        used.step()
        assert torch.is_grad_enabled()
    return [parameter.detach() for parameter in network.parameters()], used.state_dict()


@pytest.mark.parametrize("fused", [True, False])
def test_it_is_torchs(fused: bool) -> None:
    """Weights and state after steps and a change of the optimiser are bit for bit those of torch's class."""
    (ours, state), (theirs, expected) = (trained(kind, 20, fused) for kind in (AdamW, torch.optim.AdamW))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert state["param_groups"] == expected["param_groups"]
    assert all(torch.equal(state["state"][i][k], v) for i, slots in expected["state"].items() for k, v in slots.items())


def test_its_hooks_and_schedules_are_called() -> None:
    """A scheduler advances it, and a hook registered on it is called at each step."""
    parameter = nn.Parameter(torch.ones(3))
    optimizer, called = AdamW([parameter], lr=1e-2), list[int]()
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    for _ in range(3):
        parameter.sum().backward()
        optimizer.step()
        schedule.step()
    assert len(called) == 3 and optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 / 8)


def test_a_run_does_not_import_the_compiler(small_data: Path) -> None:
    """Training, storing a state and resuming from it leave `torch._dynamo` alone."""
    done = subprocess.run([sys.executable, "-c", RUN, small_data], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
