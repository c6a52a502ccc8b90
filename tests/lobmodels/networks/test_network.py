"""Networks have the findings' sizes, their step form is their whole-sequence form, and words name what they are."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lobmodels.config import RunConfig
from lobmodels.errors import UnknownNameError
from lobmodels.networks import ARCHITECTURES, HEADS, INPUT_BLOCKS, Network, build_network
from lobmodels.networks.network import ConvolutionBlock, ProjectionBlock, count_parameters

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
        "input_block": st.sampled_from(INPUT_BLOCKS.names),
        "head": st.sampled_from(HEADS.names),
        "hidden_size": st.sampled_from([4, 8, 20]),
        "num_layers": st.integers(1, 3),
        "dropout": st.sampled_from([0.0, 0.3]),
    }
)


@settings(max_examples=40, deadline=None)
@given(configurations, st.integers(1, 40), st.integers(1, 8), st.integers(1, 40), st.integers(0, 2**31))
def test_step_equals_sequence(values: dict, window: int, kernel: int, steps: int, seed: int) -> None:
    """For every architecture, block, head, window, kernel and length, stepping from a fresh state repeats `forward` to
    1e-5."""
    if values["input_block"] == "convolution":
        values = values | {"conv_kernel": kernel}
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


@pytest.mark.parametrize(("size", "targets"), [(1, 2), (7, 2), (8, 2), (8, 1), (6, 5)])
def test_heads_give_a_prediction_for_each_target(size: int, targets: int) -> None:
    """Every head maps (..., H) to (..., targets), whatever the width; the mlp has half of it in between, at least
    one."""
    for word in HEADS.names:
        config = RunConfig.parse({"head": word, "hidden_size": size})
        assert HEADS[word](config, targets)(torch.zeros(3, 4, size)).shape == (3, 4, targets)
    mlp = HEADS["mlp"](RunConfig.parse({"head": "mlp", "hidden_size": size}), targets)
    assert isinstance(mlp, nn.Sequential) and mlp[0].out_features == max(1, size // 2)


def test_input_blocks_say_their_width() -> None:
    """What a block announces is what comes out of it."""
    for word in INPUT_BLOCKS.names:
        block, width = INPUT_BLOCKS[word](RunConfig.parse({"input_block": word, "hidden_size": 6}), 5)
        assert block(torch.zeros(3, 2, 5)).shape == (3, 2, width)


def test_the_projection_is_normalised() -> None:
    """Linear, then layer norm: mean 0 and deviation 1 over the width, in evaluation mode."""
    out = ProjectionBlock(5, 16, 0.5).eval()(torch.randn(40, 5))
    assert out.mean(-1).abs().max() < 1e-5 and (out.std(-1, correction=0) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_convolution_is_torchs(kernel: int) -> None:
    """A causal `conv1d` with zeros before the sequence, then layer norm; with a kernel of 1 it is the projection."""
    block = ConvolutionBlock(5, 16, kernel, 0.0).eval()
    x = torch.randn(7, 2, 5)  # (T, B, F)
    weight = block.linear.weight.unflatten(1, (kernel, 5)).transpose(1, 2)  # (H, F, kernel)
    padded = nn.functional.pad(x.permute(1, 2, 0), (kernel - 1, 0))
    expected = nn.functional.conv1d(padded, weight, block.linear.bias).permute(2, 0, 1)
    assert (block(x) - nn.functional.layer_norm(expected, (16,))).abs().max() < 1e-5
    if kernel == 1:
        projection = ProjectionBlock(5, 16, 0.0).eval()
        projection.load_state_dict(block.state_dict())
        assert torch.equal(block(x), projection(x))


def test_heads_per_target_share_nothing() -> None:
    """`mlp_per_target` computes what two mlps of one output each compute, and a target's loss moves its own alone."""
    head = HEADS["mlp_per_target"](RunConfig.parse({"head": "mlp_per_target", "hidden_size": 6}), 2)
    assert isinstance(head, nn.Sequential)
    x = torch.randn(4, 3, 6)
    for k in (0, 1):
        own = slice(3 * k, 3 * k + 3)
        hidden = nn.functional.linear(x, head[0].weight[own], head[0].bias[own]).relu()
        expected = nn.functional.linear(hidden, head[3].weight[k : k + 1], head[3].bias[k : k + 1])[..., 0]
        assert (head(x)[..., k] - expected).abs().max() < 1e-6
    head(x)[..., 0].sum().backward()
    assert not head[0].weight.grad[3:].any() and not head[3].weight.grad[1].any() and head[0].weight.grad[:3].any()


@pytest.mark.parametrize("name", ["architecture", "input_block", "head"])
def test_unknown_words_are_refused(name: str) -> None:
    """A word that is not registered names itself and the known ones."""
    config = RunConfig.model_construct(**{**RunConfig.parse({}).model_dump(), name: "perceiver"})
    with pytest.raises(UnknownNameError, match="is registered as 'perceiver'; registered: "):
        build_network(config, 5)


def test_a_network_without_its_forms_says_so() -> None:
    """The base class computes nothing: a subclass that forgets a form fails where it is called."""
    network, x = Network(), torch.zeros(1, 1, 5)
    for call in (lambda: network(x), lambda: network.forward_step(x[0], ()), lambda: network.initial_state(1)):
        with pytest.raises(NotImplementedError):
            call()


@pytest.mark.parametrize("architecture", ARCHITECTURES.names)
def test_whether_dropout_is_used(architecture: str) -> None:
    """`RunConfig.uses_dropout` says it for every input block, head and depth, as the built network has it."""
    for block, head, layers in itertools.product(INPUT_BLOCKS.names, HEADS.names, (1, 2)):
        values = {"architecture": architecture, "input_block": block, "head": head, "num_layers": layers}
        config = RunConfig.parse({**values, "hidden_size": 8, "dropout": 0.2})
        parts = list(build_network(config, 5).modules())
        used = any(isinstance(part, nn.Dropout) and part.p > 0 for part in parts)
        used |= any(isinstance(part, nn.RNNBase) and part.dropout > 0 for part in parts)
        assert config.uses_dropout == used, values
