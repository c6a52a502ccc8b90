"""Recurrent networks start from zeros, carry what their cell needs, and look only back."""

import pytest
import torch

from lobmodels.config import RunConfig
from lobmodels.networks import build_network

STATES = {"gru": 1, "lstm": 2}


@pytest.mark.parametrize("architecture", STATES)
def test_states(architecture: str) -> None:
    """Hidden states (L, B, H), and for an LSTM its cells; all zero before a sequence, of the weights' type."""
    config = RunConfig.parse({"architecture": architecture, "hidden_size": 6, "num_layers": 3})
    state = build_network(config, 5).double().initial_state(4)
    assert len(state) == STATES[architecture]
    assert all(part.shape == (3, 4, 6) and part.dtype == torch.float64 and not part.any() for part in state)


@pytest.mark.parametrize("architecture", STATES)
def test_causal(architecture: str) -> None:
    """A changed step changes itself and what comes after, nothing before; other sequences of the batch not at all."""
    torch.manual_seed(0)
    network = build_network(RunConfig.parse({"architecture": architecture, "hidden_size": 6}), 5).eval()
    x = torch.randn(12, 3, 5)
    moved = x.clone()
    moved[7, 1] += 1.0
    changed = (network(x) != network(moved)).any(-1)  # (T, B)
    assert not changed[:7].any() and not changed[:, [0, 2]].any() and changed[7:, 1].all()


@pytest.mark.parametrize("architecture", STATES)
def test_equals_torchs_own_layers(architecture: str) -> None:
    """Whichever way the recurrence is computed here, outputs are those of torch's module, and so are the gradients."""
    torch.manual_seed(1)
    network = build_network(RunConfig.parse({"architecture": architecture, "hidden_size": 6}), 5)
    x = torch.randn(20, 3, 5)
    results = []
    for encode in (network.encode, lambda x: network.recurrent(x)[0]):
        network.zero_grad()
        outputs = encode(x)
        outputs.square().sum().backward()
        results.append([outputs, *(weight.grad for weight in network.recurrent.parameters())])
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, atol=1e-5, rtol=1e-4)


def test_dropout_acts_between_layers_only() -> None:
    """One layer has nothing between layers, so a run with dropout trains without a warning and without dropout."""
    values = {"hidden_size": 6, "num_layers": 1, "dropout": 0.5}
    network = build_network(RunConfig.parse(values), 5).train()
    x = torch.randn(10, 2, 5)
    assert torch.equal(network(x), network(x))
    network = build_network(RunConfig.parse(values | {"num_layers": 2}), 5).train()
    assert not torch.equal(network(x), network(x))
