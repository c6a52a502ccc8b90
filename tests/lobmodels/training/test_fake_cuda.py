"""GPUs made of host memory keep a GPU's rules: PyTorch's own fake tensors agree, waits are seen, races are found."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.lobmodels.training.fake_cuda import DeviceMismatch, FakeCuda
from tests.lobmodels.training.fake_streams import RaceError

Make = Callable[..., Tensor]
PLACES = ("cpu", "cuda:0", "cuda:1")
CALLS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": lambda a, b: torch.ops.aten.add.Tensor(a, b),
    "add a number": lambda a, b: torch.ops.aten.add.Tensor(a, torch.ops.aten.sum.default(b)),
    "mm": lambda a, b: torch.ops.aten.mm.default(a, b),
    "addmm": lambda a, b: torch.ops.aten.addmm.default(a, b, b),
    "cat": lambda a, b: torch.ops.aten.cat.default([a, b]),
    "where": lambda a, b: torch.ops.aten.where.self(torch.ops.aten.gt.Scalar(a, 0), a, b),
    "index_select": lambda a, b: torch.ops.aten.index_select.default(a, 0, torch.ops.aten.argmax.default(b, 1)),
    "layer_norm": lambda a, b: torch.ops.aten.native_layer_norm.default(a, [3, 3], b, b, 1e-5)[0],
    "in place": lambda a, b: torch.ops.aten.mul_.Tensor(a, b),
    "copy": lambda a, b: torch.ops.aten.copy_.default(a, b),
    "lists": lambda a, b: torch.ops.aten._foreach_add.List([a, a], [b, b])[0],
}


def outcome(call: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, refusal: type[Exception]) -> str:
    try:
        return str(call(a, b).device)
    except refusal:
        return "refused"


@pytest.mark.parametrize("first", PLACES)
@pytest.mark.parametrize("second", PLACES)
@pytest.mark.parametrize("name", CALLS)
def test_agrees_with_pytorchs_fake_tensors(name: str, first: str, second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What FakeTensorMode refuses is refused here, and what it allows lies on the same device."""
    with FakeTensorMode():
        pair = (torch.empty(3, 3, device=first), torch.empty(3, 3, device=second))
        expected = outcome(CALLS[name], *pair, RuntimeError)
    with FakeCuda(monkeypatch):
        pair = (torch.empty(3, 3, device=first), torch.empty(3, 3, device=second))
        assert outcome(CALLS[name], *pair, DeviceMismatch) == expected


def test_numbers_are_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed there is what the CPU computes, gradients included; parameters and gradients say where."""
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(4, 3), torch.randn(5, 4)
    layer(x).square().sum().backward()
    assert layer.weight.grad is not None
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    with FakeCuda(monkeypatch) as cuda:
        layer.to("cuda:1")
        layer(x.to("cuda:1")).square().sum().backward()
        assert layer.weight.device == layer.weight.grad.device == torch.device("cuda:1")
        assert torch.equal(layer.weight.grad.cpu(), expected)
        with pytest.raises(DeviceMismatch):
            layer(x)
        with pytest.raises(TypeError, match="cuda:1"):
            layer.weight.detach().numpy()
        assert torch.empty(1).to("cuda").device == torch.device("cuda:0")
        assert cuda.kernels


@pytest.mark.parametrize(
    ("wait", "waits"),
    [
        (lambda x, pinned: x.sum().item(), True),
        (lambda x, pinned: bool(x.sum() > 0), True),
        (lambda x, pinned: x.tolist(), True),
        (lambda x, pinned: x.cpu(), True),
        (lambda x, pinned: x.nonzero(), True),
        (lambda x, pinned: x[x > 0], True),
        (lambda x, pinned: x[torch.tensor([0])], True),
        (lambda x, pinned: torch.ones(3).to("cuda:0"), True),
        (lambda x, pinned: torch.ones(3).to("cuda:0", non_blocking=True), True),  # from pageable memory it waits
        (lambda x, pinned: x.copy_(pinned), True),
        (lambda x, pinned: x.copy_(pinned, non_blocking=True), False),
        (lambda x, pinned: x.to("cuda:1"), False),
        (lambda x, pinned: torch.nn.utils.clip_grad_norm_([x], 1.0), False),
        (lambda x, pinned: torch.where(x.sum().isfinite(), x, 0.0), False),
    ],
)
def test_waiting_is_seen(wait: Callable[..., Any], waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes the host wait for the device is listed, and nothing else."""
    with FakeCuda(monkeypatch) as cuda:
        x, pinned = torch.ones(3, device="cuda:0"), torch.ones(3, pin_memory=True)
        wait(x, pinned)
        assert bool(cuda.syncs) == waits


def test_races_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is not waited for, memory overwritten while it is copied or read: each is an error, and none of them
    is where events order them."""
    with FakeCuda(monkeypatch):
        pinned, there = torch.zeros(3, pin_memory=True), torch.zeros(3, device="cuda:0")
        side, main, copied, read = (
            torch.cuda.Stream(),
            torch.cuda.current_stream(),
            torch.cuda.Event(),
            torch.cuda.Event(),
        )

        def send() -> None:
            with torch.cuda.stream(side):
                there.copy_(pinned, non_blocking=True)
                copied.record(side)

        with pytest.raises(RaceError, match="written by stream"):  # of `there`, by the stream that made it
            send()
        side.wait_stream(main)
        send()
        with pytest.raises(RaceError, match="the host: its memory may still be read by stream"):
            pinned.fill_(1.0)
        with pytest.raises(RaceError, match="may still be written by stream"):
            there.sum()
        main.wait_event(copied)
        there.sum()
        read.record(main)
        copied.synchronize()
        pinned.fill_(1.0)
        with pytest.raises(RaceError, match="may still be read by stream"):
            send()
        side.wait_event(read)
        send()
