"""LSTM stacks on a GPU, as far as a CPU can check them: layer by layer they are the stack; which are computed so."""

import pytest
import torch

from lobmodels.networks import cudnn_recurrent
from lobmodels.networks.cudnn_recurrent import by_layer, lstm_on_gpu

GPU = torch.device("cuda", 0)


def test_layer_by_layer_is_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients, with a dropout that drops nothing; with one that does, a seed repeats it."""
    monkeypatch.setattr(cudnn_recurrent, "by_layer", lambda recurrent, device: True)
    stack, x = torch.nn.LSTM(5, 7, 3, dropout=1e-12), torch.randn(11, 4, 5)
    found, expected = lstm_on_gpu(stack, x), stack(x)[0]
    assert torch.allclose(found, expected, atol=1e-6)
    ours = torch.autograd.grad(found.square().sum(), stack.parameters())  # type: ignore[arg-type]
    theirs = torch.autograd.grad(expected.square().sum(), stack.parameters())  # type: ignore[arg-type]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))
    stack.dropout = 0.5
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(lstm_on_gpu(stack, x))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(lstm_on_gpu(stack.eval(), x), stack(x)[0])


@pytest.mark.parametrize(
    ("layers", "dropout", "capability", "expected"),
    [(2, 0.2, (8, 0), True), (2, 0.2, (7, 5), False), (2, 0.0, (9, 0), False), (1, 0.2, (9, 0), False)],
)
def test_which_are_computed_so(
    monkeypatch: pytest.MonkeyPatch, layers: int, dropout: float, capability: tuple[int, int], expected: bool
) -> None:
    """Where there is dropout between layers, from Ampere on."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    stack = torch.nn.LSTM(5, 7, layers)
    stack.dropout = dropout
    assert by_layer(stack, GPU) == expected
