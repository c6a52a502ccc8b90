"""Several sets of weights of one network predict as one."""

from __future__ import annotations

import torch
from torch import nn

from lobmodels.networks.mixture import KeptEpoch, Mixture


def test_the_sum_by_shares() -> None:
    """Each target's prediction is the epochs' ones times their shares, whatever weights the network had before."""
    torch.manual_seed(0)
    networks = [nn.Linear(3, 2) for _ in range(3)]
    shares = ((0.5, 0.0), (0.5, 0.0), (0.0, 1.0))
    epochs = [KeptEpoch(i, n.state_dict(), share) for i, (n, share) in enumerate(zip(networks, shares, strict=True))]
    x = torch.randn(7, 4, 3)
    expected = torch.stack([(networks[0](x) + networks[1](x))[..., 0] / 2, networks[2](x)[..., 1]], -1)
    mixture = Mixture(nn.Linear(3, 2), epochs)
    with torch.inference_mode():
        for _ in range(2):
            assert torch.allclose(mixture(x), expected, atol=1e-6)
