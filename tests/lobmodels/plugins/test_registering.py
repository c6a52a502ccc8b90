"""What is registered is built from a configuration like a built-in part."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lobmodels.config import RunConfig, own_feature_flags
from lobmodels.errors import PluginError
from lobmodels.networks import build_network
from lobmodels.own_features import CODE, OwnFeatures
from lobmodels.plugins.declarations import Float, Int
from lobmodels.plugins.registering import PARTS, features, loss, metric, network
from lobmodels.training.losses import build_loss


def test_a_network_and_a_loss_of_a_session() -> None:
    """A class of a notebook trains; it has no digest, because it is in no file."""

    @network("session_net", depth=Int(1, 3, 2))
    class Net(nn.Module):
        def __init__(self, config: RunConfig, input_size: int, targets: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(*[nn.Linear(input_size, input_size) for _ in range(config.depth)])  # type: ignore[attr-defined]
            self.head = nn.Linear(input_size, targets)

        def initial_state(self, batch: int) -> tuple[torch.Tensor, ...]:
            return ()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layers(x))

        def forward_step(self, x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, tuple[()]]:
            return self(x), ()

    @loss("cubic", cubic_share=Float(0.0, 2.0, 1.0))
    def cubic(p: torch.Tensor, y: torch.Tensor, w: torch.Tensor, config: RunConfig) -> torch.Tensor:
        return ((p - y).abs() ** 3 * w).mean() * config.cubic_share  # type: ignore[attr-defined]

    config = RunConfig.parse({"architecture": "session_net", "depth": 3, "loss": "cubic", "cubic_share": 2.0})
    built = build_network(config, 5)
    assert len(built.inner.layers) == 3 and built(torch.zeros(4, 1, 5)).shape == (4, 1, 2)  # type: ignore[union-attr,operator]
    assert build_loss(config)(torch.ones(1, 1, 2), torch.zeros(1, 1, 2)).item() == 2.0
    assert PARTS["network", "session_net"].digest is None


def row_group(x: torch.Tensor, config: SimpleNamespace) -> torch.Tensor:
    """Features of one row."""
    return x


def forms(*missing: str, init: bool = True) -> type:
    """A class of a feature group without some of its methods."""
    methods = {
        "initial_state": lambda self, batch: (),
        "forward": lambda self, x: x,
        "forward_step": lambda self, x, state: (x, ()),
    }
    if init:
        methods["__init__"] = lambda self, config: None
    return type("Group", (), {name: method for name, method in methods.items() if name not in missing})


MISTAKES: dict[str, tuple[str, dict[str, Any], Any, str]] = {
    "reads one name": ("g", {"reads": "v0"}, row_group, "`reads` and `gives` are lists of names"),
    "reads nothing": ("g", {"reads": []}, row_group, "`reads` is a list of column names"),
    "gives a number": ("g", {"gives": [1]}, row_group, "`gives` is a list of column names"),
    "gives twice": ("g", {"gives": ["a", "a"]}, row_group, "`gives` names 'a' twice"),
    "gives what it reads": ("g", {"gives": ["v0"]}, row_group, "'v0' is read and given"),
    "gives a built-in one": ("g", {"gives": ["bid_pressure"]}, row_group, "is a feature of the group 'derived'"),
    "name of a parameter": ("dropout", {}, row_group, "lobtuna has one of that name"),
    "name with capitals": ("Flow", {}, row_group, "a name is lower-case letters"),
    "own parameter": ("g", {"lr": Float(0.0, 1.0, 0.5)}, row_group, "parameter 'lr' is one of lobtuna's own"),
    "a parameter of its name": (
        "g",
        {"other": Float(0.0, 1.0, 0.5)},
        row_group,
        "parameter 'other' belongs to 'other'",
    ),
    "features of another": ("g", {"gives": ["taken"]}, row_group, "'taken' is a feature of the group 'other'"),
    "one argument": ("g", {}, lambda x: x, r"must be a class, or a function group\(x, config\)"),
    "no step": ("g", {}, forms("forward_step"), r"has no method forward_step\(x, state\)"),
    "no state": ("g", {}, forms("initial_state"), r"has no method initial_state\(batch\)"),
    "init": ("g", {}, forms(init=False), r"__init__ must take \(self, config\)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_feature_group_that_cannot_be_registered_is_one_line(mistake: str) -> None:
    """It names the group and what is wrong with it; nothing is registered."""
    features("other", reads=["v0"], gives=["taken"])(row_group)
    name, arguments, made, said = MISTAKES[mistake]
    with pytest.raises(PluginError, match=said) as caught:
        features(name, **{"reads": ["v0"], "gives": ["given"], **arguments})(made)
    assert f"feature group {name!r}" in str(caught.value) and "\n" not in str(caught.value)
    assert list(CODE.names) == ["other"] and own_feature_flags() == ("other",)


def test_a_feature_group_of_a_session() -> None:
    """A function of a notebook gives its features; defined again with other columns it replaces the first."""
    features("twice", reads=["v0"], gives=["a"])(row_group)
    features("twice", reads=["v0", "v1"], gives=["a", "b"])(row_group)
    assert RunConfig.parse({"twice": True}).feature_groups() == ("twice",)
    assert OwnFeatures("twice").whole(torch.ones(3, 1, 2)).shape == (3, 1, 2)


@pytest.mark.parametrize(
    ("name", "function", "said"),
    [
        ("mine", lambda p, y: p, r"must be a function of three arguments: metric\(p, y, w\)"),
        ("r2", lambda p, y, w: p, "lobtuna has one of that name"),
        ("My metric", lambda p, y, w: p, "a name is lower-case letters"),
    ],
)
def test_a_metric_that_cannot_be_registered_is_one_line(name: str, function: Any, said: str) -> None:
    """It names the metric and what is wrong with it."""
    with pytest.raises(PluginError, match=said) as caught:
        metric(name)(function)
    assert f"metric {name!r}" in str(caught.value) and "\n" not in str(caught.value)
