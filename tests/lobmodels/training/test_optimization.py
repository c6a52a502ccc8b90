"""The moving average is torch's own, without its wait for the device; states written by torch's still open."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lobmodels.training.optimization import WeightAverage


def test_equals_torchs_average() -> None:
    """Bit for bit over several updates, buffers included, and under the same names in the state."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ours = WeightAverage(network, 0.9)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(4):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += torch.randn_like(parameter)
            network(torch.randn(5, 3))
        ours.update(network)
        theirs.update_parameters(network)
    mine, expected = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == expected.keys()
    assert all(torch.equal(mine[name], expected[name]) for name in mine)
    again = WeightAverage(network, 0.9)
    again.load_state_dict(expected)
    assert again.n_averaged == 4
