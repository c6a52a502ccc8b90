"""The attention sees its window and no more, in whole sequences on either device's path and step by step."""

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


def test_a_gpus_blocks_equal_a_cpus_pieces() -> None:
    """The two ways to compute the band agree."""
    torch.manual_seed(1)
    attention = BandedSelfAttention(12, heads=3, window=50, dropout=0.0)
    x = torch.randn(130, 5, 12)
    projected = torch.nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    blocks = attention.out_proj(attention._in_blocks(projected, 0.0))
    assert (attention(x) - blocks).abs().max() < 1e-6


def test_the_state_holds_the_window() -> None:
    """Recurrent states, keys and values of the last steps, and their number, all zero before a sequence."""
    values = {"architecture": "gru_attention", "hidden_size": 8, "attention_heads": 2, "attention_window": 5}
    hidden, keys, values_, count = build_network(RunConfig.parse(values), 3).initial_state(4)
    assert hidden.shape == (2, 4, 8) and keys.shape == values_.shape == (5, 4, 8)
    assert count.shape == (1, 4) and count.dtype == torch.long
    assert not any(part.any() for part in (hidden, keys, values_, count))
