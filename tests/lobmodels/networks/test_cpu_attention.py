"""The attention written for a CPU has true gradients, and its dropout keeps the mean."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.networks.cpu_attention import BandedAttention, keep_by_bits


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([0.0, 0.4]), st.integers(0, 2**31))
def test_banded_attention_has_the_right_gradients(window: int, steps: int, dropout: float, seed: int) -> None:
    """Finite differences agree with the backward pass, through the same dropped weights, over several pieces."""
    torch.manual_seed(seed)
    q, k, v = (torch.randn(2, steps, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(seed)
        return BandedAttention.apply(*inputs, window, dropout)

    assert torch.autograd.gradcheck(attend, (q, k, v), fast_mode=True)


def test_dropped_weights_keep_the_mean() -> None:
    """Over many draws, attention with dropout averages to attention without."""
    torch.manual_seed(0)
    assert abs(keep_by_bits(torch.Size([1000, 1000]), 0.3).float().mean() - 0.7) < 0.002
    q, k, v = (torch.randn(1, 40, 4) for _ in range(3))
    many = (x.expand(4000, -1, -1) for x in (q, k, v))
    mean = BandedAttention.apply(*many, 8, 0.25).mean(0)
    assert (mean - BandedAttention.apply(q, k, v, 8, 0.0)[0]).abs().max() < 0.06
