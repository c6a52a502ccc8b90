"""The GPU kernels on a CPU, by Triton's interpreter: `python -m tests.lobmodels.networks.interpreted`, in a process of
its own, since Triton decides at its import whether it interprets. Prints a line of JSON a case: largest differences of
outputs, of the inputs' gradient, and of the weights' gradients."""

import json
import os

os.environ["TRITON_INTERPRET"] = "1"

import torch
from torch import nn

from lobmodels.networks import gpu_kernels
from lobmodels.networks.gpu_recurrent import GpuLayer, largest_error

# steps, sequences, columns, hidden size: blocks partly filled, one step, several programs, two groups of columns
CASES = [(7, 5, 3, 6), (9, 18, 4, 16), (1, 3, 3, 6), (2, 3, 3, 40), (3, 17, 8, 144)]


def main() -> None:
    torch.manual_seed(0)
    for steps, batch, columns, size in CASES:
        network, x = nn.GRU(columns, size), torch.randn(steps, batch, columns)
        ours, theirs = (x.clone().requires_grad_() for _ in range(2))
        direction = torch.randn(steps, batch, size)
        y = GpuLayer.apply(gpu_kernels, ours, *network.all_weights[0])
        expected = network(theirs)[0]
        found = torch.autograd.grad((y * direction).sum(), [ours, *network.parameters()])
        right = torch.autograd.grad((expected * direction).sum(), [theirs, *network.parameters()])
        errors = [float((a - b).detach().abs().max()) for a, b in zip((y, *found), (expected, *right), strict=True)]
        half = largest_error(gpu_kernels, size, torch.device("cpu"), steps, batch)
        print(json.dumps({"size": size, "errors": errors, "half": half}))


if __name__ == "__main__":
    main()
