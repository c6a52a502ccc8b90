"""Whether a plugin's network and loss keep their promises, asked on random data before anything is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lobmodels.config import RunConfig
from lobmodels.errors import PluginError
from lobmodels.networks import build_network
from lobmodels.plugins.declarations import DECLARED
from lobmodels.schema import LOB, Schema
from lobmodels.training.losses import build_loss

STEPS, BATCH = 80, 3
TOLERANCE = 1e-4  # float32 sums in another order differ by about 1e-6


def check_network(config: RunConfig, input_size: int, target_names: tuple[str, ...] = LOB.targets) -> None:
    """Compare `forward` with `forward_step` of the network of `config` on random data, in evaluation mode.

    Raises `PluginError` with what was expected: shapes, finite numbers, trainable weights, a state that keeps its
    shapes, and, where the two differ, the first step and target.
    """
    what = f"network {config.architecture!r}"
    targets = len(target_names)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS, BATCH, input_size, generator=generator)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = _call(f"{what}: __init__", lambda: build_network(config, input_size, targets)).inner.eval()
        if not any(p.requires_grad for p in network.parameters()):
            raise PluginError(f"{what} has no trainable weights: keep its layers as attributes in __init__")
        whole = _call(f"{what}: forward", lambda: network(x))
        _require_shape(f"{what}: forward", whole, (STEPS, BATCH, targets), "(T, B, targets)")
        again = _call(f"{what}: forward", lambda: network(x))
        if not torch.equal(whole, again):
            raise PluginError(f"{what}: forward gives another result the second time in evaluation mode; it must not")
        stepped = _stepped(what, network, x, targets)
    if not torch.isfinite(whole).all():
        raise PluginError(f"{what}: forward gives numbers that are not finite on standard normal data")
    _require_equal(what, config, whole, stepped, target_names)


def check_loss(config: RunConfig, schema: Schema = LOB) -> None:
    """Ask the loss of `config` for a finite scalar and a gradient, with the targets of `schema`. Raises `PluginError`
    where it gives none."""
    what, targets = f"loss {config.loss!r}", len(schema.targets)
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(STEPS, BATCH, targets, generator=generator)
    p = torch.randn(STEPS, BATCH, targets, generator=generator).requires_grad_()
    value = _call(what, lambda: build_loss(config, schema=schema)(p, y))
    if not isinstance(value, Tensor) or value.ndim:
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise PluginError(f"{what} returned {found}; it must return a scalar tensor, such as a mean")
    if not value.requires_grad:
        raise PluginError(f"{what} does not depend on the prediction: nothing would be learned")
    (gradient,) = torch.autograd.grad(value, p)
    if not torch.isfinite(value) or not torch.isfinite(gradient).all():
        raise PluginError(f"{what} or its gradient is not finite on standard normal data")


def _stepped(what: str, network: Any, x: Tensor, targets: int) -> Tensor:
    """Predictions (T, B, K) one step after the other."""
    state = _call(f"{what}: initial_state", lambda: network.initial_state(BATCH))
    _require_state(f"{what}: initial_state", state, None)
    if any(bool(part.any()) for part in state):
        raise PluginError(f"{what}: initial_state must be zeros: submissions start every sequence from zeros")
    found = []
    for step in x:
        now = state
        answer = _call(f"{what}: forward_step", lambda step=step, now=now: network.forward_step(step, now))
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise PluginError(f"{what}: forward_step must return a pair: prediction (B, targets) and the next state")
        prediction, state = answer
        _require_shape(f"{what}: forward_step", prediction, (BATCH, targets), "(B, targets)")
        _require_state(f"{what}: forward_step", state, now)
        found.append(prediction)
    return torch.stack(found)


def _call(what: str, function: Any) -> Any:
    """The result of a user's function. Whatever it raises becomes one line."""
    try:
        return function()
    except PluginError:
        raise
    except Exception as error:  # a user's code raises what it likes
        text = " ".join(str(error).split())
        raise PluginError(f"{what} raised {type(error).__name__}: {text}") from None


def _require_shape(what: str, value: Any, shape: tuple[int, ...], words: str) -> None:
    if not isinstance(value, Tensor):
        raise PluginError(f"{what} returned a {type(value).__name__}, not a tensor {words}")
    if tuple(value.shape) != shape:
        raise PluginError(f"{what} returned shape {tuple(value.shape)}, not {shape}, that is {words}")


def _require_state(what: str, state: Any, before: tuple[Tensor, ...] | None) -> None:
    if not isinstance(state, tuple) or not all(isinstance(part, Tensor) for part in state):
        raise PluginError(f"{what} must give the state as a tuple of tensors")
    if before is None:
        wrong = next((part for part in state if part.ndim < 2 or part.shape[1] != BATCH), None)
        if wrong is not None:
            raise PluginError(
                f"{what} gives shape {tuple(wrong.shape)} for {BATCH} sequences: dimension 1 is the batch"
            )
        return
    shapes = [tuple(tuple(part.shape) for part in parts) for parts in (before, state)]
    if shapes[0] != shapes[1]:
        raise PluginError(f"{what} changes the shapes of the state from {list(shapes[0])} to {list(shapes[1])}")


def _require_equal(what: str, config: RunConfig, whole: Tensor, stepped: Tensor, target_names: tuple[str, ...]) -> None:
    gap = (whole - stepped).abs() > TOLERANCE * (1 + whole.abs())
    if not gap.any():
        return
    t = int(gap.any(1).any(1).nonzero()[0])
    k = int(gap[t].any(0).nonzero()[0])
    b = int(gap[t, :, k].nonzero()[0])
    own = {name: getattr(config, name) for name in DECLARED["network", config.architecture].parameters}
    with_ = f" with {', '.join(f'{name}={value}' for name, value in own.items())}" if own else ""
    raise PluginError(
        f"{what}{with_}: forward and forward_step differ first at step {t}, target {target_names[k]}: "
        f"{whole[t, b, k]:.6f} against {stepped[t, b, k]:.6f}; both must compute the same from rows up to that step"
    )
