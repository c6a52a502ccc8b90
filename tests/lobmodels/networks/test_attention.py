"""The attention sees its window and no more, in whole sequences on either device's path and step by step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.config import RunConfig
from lobmodels.networks import build_network
from lobmodels.networks.attention import BandedSelfAttention


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**31))
def test_band_equals_masked_attention(window: int, steps: int, seed: int) -> None:
    """The blocked band equals torch's own attention under a full (T, T) band mask."""
    torch.manual_seed(seed)
    ours = BandedSelfAttention(8, heads=2, window=window, dropout=0.0)
    theirs = torch.nn.MultiheadAttention(8, 2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(steps, 3, 8)
    distance = torch.arange(steps)[:, None] - torch.arange(steps)[None, :]
    hidden = (distance < 0) | (distance >= window)
    expected = theirs(x, x, x, attn_mask=hidden, need_weights=False)[0]
    assert (ours(x) - expected).abs().max() < 1e-5


def test_attention_sees_its_window_and_no_more() -> None:
    """In training as online, a step beyond the window changes nothing, one inside it does."""
    attention = BandedSelfAttention(8, heads=2, window=4, dropout=0.0)
    x = torch.randn(30, 1, 8)
    moved = x.clone()
    moved[10] += 1.0
    changed = (attention(x) - attention(moved)).abs().amax((1, 2)) > 1e-7
    assert changed.nonzero().flatten().tolist() == [10, 11, 12, 13]


@pytest.mark.parametrize(("size", "heads"), [(12, 3), (16, 2), (36, 1), (20, 4)])
def test_a_gpus_blocks_equal_a_cpus_pieces(size: int, heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two ways to compute the band agree, in values and gradients. The GPU's kernel is given heads of a multiple of
    8, whatever their true size, which alone decides the scale."""
    from lobmodels.networks import attention as module

    given = []

    def kernel(q: torch.Tensor, *rest: torch.Tensor, **options: object) -> torch.Tensor:
        given.append(q.shape[-1])
        return torch.nn.functional.scaled_dot_product_attention(q, *rest, **options)

    monkeypatch.setattr(module, "scaled_dot_product_attention", kernel)
    torch.manual_seed(1)
    attention = module.BandedSelfAttention(size, heads=heads, window=50, dropout=0.0)
    x = torch.randn(130, 5, size)
    projected = torch.nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    blocks, pieces = attention.out_proj(attention._in_blocks(projected, 0.0)), attention(x)
    assert (pieces - blocks).abs().max() < 1e-6
    assert given and all(width % 8 == 0 for width in given)
    ours, theirs = (torch.autograd.grad(y.square().mean(), attention.in_proj_weight)[0] for y in (blocks, pieces))
    assert (ours - theirs).abs().max() < 1e-6


def test_the_state_holds_the_window() -> None:
    """Recurrent states, keys and values of the last steps, and their number, all zero before a sequence."""
    values = {"architecture": "gru_attention", "hidden_size": 8, "attention_heads": 2, "attention_window": 5}
    hidden, keys, values_, count = build_network(RunConfig.parse(values), 3).initial_state(4)
    assert hidden.shape == (2, 4, 8) and keys.shape == values_.shape == (5, 4, 8)
    assert count.shape == (1, 4) and count.dtype == torch.long
    assert not any(part.any() for part in (hidden, keys, values_, count))
