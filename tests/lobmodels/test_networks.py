"""Networks have the findings' sizes, and their step form is their whole-sequence form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.config import RunConfig
from lobmodels.networks import build_network
from lobmodels.networks.recurrent import count_parameters

TIGHT = {"input_block": "projection", "head": "mlp", "num_layers": 2}
# The findings list 351,434 for the attention network "at h=128"; that is the count at h=144 with 42 inputs, as below.
PARAMETERS = [
    (TIGHT | {"hidden_size": 128}, 32, 211_010),
    (TIGHT | {"hidden_size": 128}, 42, 212_290),
    (TIGHT | {"hidden_size": 144}, 42, 267_626),
    (TIGHT | {"hidden_size": 192, "num_layers": 3}, 42, 694_370),
    ({"hidden_size": 64, "num_layers": 3}, 32, 68_866),
    (TIGHT | {"hidden_size": 128, "architecture": "lstm"}, 42, 278_338),
    (TIGHT | {"hidden_size": 144, "architecture": "gru_attention"}, 42, 351_434),
]


@pytest.mark.parametrize(("values", "inputs", "expected"), PARAMETERS)
def test_parameter_counts(values: dict, inputs: int, expected: int) -> None:
    """A published recipe gives the published number of parameters."""
    assert count_parameters(build_network(RunConfig.parse(values), inputs)) == expected


configurations = st.fixed_dictionaries(
    {
        "architecture": st.sampled_from(["gru", "lstm", "gru_attention"]),
        "input_block": st.sampled_from(["none", "projection"]),
        "head": st.sampled_from(["linear", "mlp"]),
        "hidden_size": st.sampled_from([4, 8, 20]),
        "num_layers": st.integers(1, 3),
        "dropout": st.sampled_from([0.0, 0.3]),
    }
)


@settings(max_examples=40, deadline=None)
@given(configurations, st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_step_equals_sequence(values: dict, window: int, steps: int, seed: int) -> None:
    """For every architecture, window and length, stepping from a fresh state repeats `forward` to 1e-5."""
    if values["architecture"] == "gru_attention":
        values = values | {"attention_window": window}
    torch.manual_seed(seed)
    network = build_network(RunConfig.parse(values), 5).eval()
    x = torch.randn(steps, 3, 5)
    with torch.inference_mode():
        whole = network(x)
        for _ in range(2):  # a fresh state is a reset: nothing of the first pass is left in the second
            state = network.initial_state(3)
            for t in range(steps):
                y, state = network.forward_step(x[t], state)
                assert (y - whole[t]).abs().max() < 1e-5


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**31))
def test_band_equals_masked_attention(window: int, steps: int, seed: int) -> None:
    """The blocked band equals torch's own attention under a full (T, T) band mask."""
    from lobmodels.networks.attention import BandedSelfAttention

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
    from lobmodels.networks.attention import BandedSelfAttention

    attention = BandedSelfAttention(8, heads=2, window=4, dropout=0.0)
    x = torch.randn(30, 1, 8)
    moved = x.clone()
    moved[10] += 1.0
    changed = (attention(x) - attention(moved)).abs().amax((1, 2)) > 1e-7
    assert changed.nonzero().flatten().tolist() == [10, 11, 12, 13]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([0.0, 0.4]), st.integers(0, 2**31))
def test_banded_attention_has_the_right_gradients(window: int, steps: int, dropout: float, seed: int) -> None:
    """Finite differences agree with the backward pass, through the same dropped weights, over several pieces."""
    from lobmodels.networks.cpu_attention import BandedAttention

    torch.manual_seed(seed)
    q, k, v = (torch.randn(2, steps, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(seed)
        return BandedAttention.apply(*inputs, window, dropout)

    assert torch.autograd.gradcheck(attend, (q, k, v), fast_mode=True)


def test_dropped_weights_keep_the_mean() -> None:
    """Over many draws, attention with dropout averages to attention without."""
    from lobmodels.networks.cpu_attention import BandedAttention, keep_by_bits

    torch.manual_seed(0)
    assert abs(keep_by_bits(torch.Size([1000, 1000]), 0.3).float().mean() - 0.7) < 0.002
    q, k, v = (torch.randn(1, 40, 4) for _ in range(3))
    many = (x.expand(4000, -1, -1) for x in (q, k, v))
    mean = BandedAttention.apply(*many, 8, 0.25).mean(0)
    assert (mean - BandedAttention.apply(q, k, v, 8, 0.0)[0]).abs().max() < 0.06


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
