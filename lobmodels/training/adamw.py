"""AdamW without `torch._dynamo`, which torch's own optimiser imports at its first use: more than a second a process."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch.optim import AdamW as TorchAdamW
from torch.optim import Optimizer


def _plain(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of torch's optimisers as it is written, without the wrappers that torch.compile needs."""
    return cast(Callable[..., Any], inspect.unwrap(method))


class AdamW(TorchAdamW):
    """torch's AdamW, step by step the same arithmetic and state. It cannot be part of a compiled function.

    torch wraps these methods so that torch.compile leaves them alone, and each wrapper imports the compiler when
    it is first called. Here they are called directly.
    """

    step = torch.no_grad()(_plain(TorchAdamW.step))
    zero_grad = _plain(Optimizer.zero_grad)
    add_param_group = _plain(Optimizer.add_param_group)
    state_dict = _plain(Optimizer.state_dict)
    load_state_dict = _plain(Optimizer.load_state_dict)
