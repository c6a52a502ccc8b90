"""What is registered is built from a configuration like a built-in part."""

from __future__ import annotations

import torch
from torch import nn

from lobmodels.config import RunConfig
from lobmodels.networks import build_network
from lobmodels.plugins.declarations import Float, Int
from lobmodels.plugins.registering import PARTS, loss, network
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
