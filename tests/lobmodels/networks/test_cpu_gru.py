"""The CPU form of the GRU is nn.GRU: same outputs, same gradients, same dropout."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lobmodels.networks.cpu_gru import GRULayer, gru_on_cpu


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 20), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.integers(0, 99)
)
def test_equals_torch(steps: int, batch: int, inputs: int, hidden: int, layers: int, seed: int) -> None:
    """In double precision outputs and every gradient agree to 1e-12, whatever the shape."""
    torch.manual_seed(seed)
    gru = nn.GRU(inputs, hidden, layers).double()
    x = torch.randn(steps, batch, inputs, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(steps, batch, hidden, dtype=torch.float64)
    results = []
    for run in (lambda: gru(x)[0], lambda: gru_on_cpu(gru, x)):
        gru.zero_grad()
        x.grad = None
        y = run()
        (y * weight).sum().backward()
        assert x.grad is not None
        results.append([y.detach(), x.grad.clone(), *(p.grad.clone() for p in gru.parameters() if p.grad is not None)])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_gradient_is_true() -> None:
    """Gradients equal finite differences, without torch's GRU as the judge."""
    torch.manual_seed(0)
    shapes = ((9, 2, 3), (12, 3), (12, 4), (12,), (12,))
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(GRULayer.apply, tensors)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_between_layers(training: bool) -> None:
    """Dropout acts between layers while training, draws the same mask as torch's, and is off in evaluation."""
    gru = nn.GRU(3, 8, 3, dropout=0.5).train(training)
    x = torch.randn(12, 2, 3)
    torch.manual_seed(1)
    theirs = gru(x)[0]
    torch.manual_seed(1)
    torch.testing.assert_close(gru_on_cpu(gru, x), theirs, rtol=0, atol=1e-5)
