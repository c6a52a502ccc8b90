"""Whether the parts of a plugin keep their promises, asked on random data before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lobmodels.config import RunConfig
from lobmodels.errors import PluginError
from lobmodels.metric import whole_score
from lobmodels.networks import build_network
from lobmodels.own_features import OwnFeatures, Settings
from lobmodels.plugins.declarations import DECLARED
from lobmodels.schema import LOB, Schema
from lobmodels.training.losses import build_loss

STEPS, BATCH = 80, 3
TOLERANCE = 1e-4  # float32 sums in another order differ by about 1e-6
FEATURE_TOLERANCE = 1e-8  # features are float64


FORM = "(T, B, gives)"  # of a feature group's result


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


def check_features(name: str, settings: Settings = ()) -> None:
    """Compare `forward` with `forward_step` of the feature group `name` with these parameters, on random data of both
    signs and again on positive data, as prices and volumes may be.

    Raises `PluginError` with what was expected: shapes, numbers that are finite on one of the two, no weights to train,
    sequences that do not see each other, and, where the two forms differ, the first step and column.
    """
    what = f"feature group {name!r}"
    group = _call(f"{what}: __init__", lambda: OwnFeatures(name, settings))
    if isinstance(group.inner, torch.nn.Module) and any(p.requires_grad for p in group.inner.parameters()):
        raise PluginError(f"{what} has weights to train, and features are computed once: make it a network")
    generator = torch.Generator().manual_seed(0)
    signed = torch.randn(STEPS, BATCH, len(group.columns.reads), generator=generator, dtype=torch.float64)
    finite = [_check_on(f"{what}{_with(group.settings)}", group, x) for x in (signed, signed.exp())]
    if not any(finite):
        raise PluginError(f"{what} gives numbers that are not finite, on data of both signs and on positive data")


def check_metric(name: str, schema: Schema = LOB) -> None:
    """Ask the metric `name` for scores of random rows with the targets of `schema`.

    Raises `PluginError` where it gives something else than one finite number a target, where a constant prediction has
    no score, or where a perfect prediction is not better than an unrelated one.
    """
    what, shape = f"metric {name!r}", (STEPS * BATCH, len(schema.targets))
    random = np.random.default_rng(0)
    y, other = random.standard_normal(shape), random.standard_normal(shape)
    found = {}
    for kind, p in (("perfect", y), ("unrelated", other), ("constant", np.zeros(shape))):
        scores = found[kind] = _call(what, lambda p=p: whole_score(name, p, y))
        if not np.isfinite(scores).all():
            k = int((~np.isfinite(scores)).argmax())
            raise PluginError(
                f"{what} is {scores[k]} for a {kind} prediction of {schema.targets[k]}: it must be a finite number"
            )
    worse = np.flatnonzero(found["perfect"] <= found["unrelated"])
    if len(worse):
        k = worse[0]
        raise PluginError(
            f"{what} gives a perfect prediction of {schema.targets[k]} {found['perfect'][k]:.4g} and an unrelated one "
            f"{found['unrelated'][k]:.4g}: better predictions must have higher scores"
        )


@torch.no_grad()
def _check_on(what: str, group: OwnFeatures, x: Tensor) -> bool:
    """Compare both forms of `group` on rows (T, B, R); whether everything is a finite number."""
    columns, shape = group.columns.gives, (STEPS, BATCH, len(group.columns.gives))
    _require_shape(f"{what}: forward", _call(f"{what}: forward", lambda: group.inner.forward(x.clone())), shape, FORM)
    whole = group.whole(x.clone())
    if not torch.equal(whole.nan_to_num(), group.whole(x.clone()).nan_to_num()):
        raise PluginError(f"{what}: forward gives another result the second time; it must not")
    state, found = _call(f"{what}: initial_state", lambda: group.initial_state(BATCH)), []
    _require_tensors(f"{what}: initial_state", state)
    _require_zeros(f"{what}: initial_state", state)
    for row in x:
        now = state
        answer = _call(f"{what}: forward_step", lambda row=row, now=now: group.inner.forward_step(row.clone(), now))
        _require_pair(f"{what}: forward_step", answer, "features (B, gives)")
        _require_shape(f"{what}: forward_step", answer[0], shape[1:], "(B, gives)")
        state = answer[1]
        _require_state(f"{what}: forward_step", state, now)
        found.append(answer[0].double())
    _require_same(what, whole, torch.stack(found), columns)
    alone = _call(f"{what}: forward", lambda: group.whole(x[:, :1].clone()))
    if not torch.allclose(alone, whole[:, :1], FEATURE_TOLERANCE, FEATURE_TOLERANCE, equal_nan=True):
        raise PluginError(f"{what}: forward gives a sequence other features beside others than alone")
    return bool(torch.isfinite(whole).all())


def _require_same(what: str, whole: Tensor, stepped: Tensor, columns: tuple[str, ...]) -> None:
    same = torch.isclose(whole, stepped, FEATURE_TOLERANCE, FEATURE_TOLERANCE)
    same |= ~whole.isfinite() & ~stepped.isfinite()
    if same.all():
        return
    t = int((~same).any(1).any(1).nonzero()[0])
    k = int((~same)[t].any(0).nonzero()[0])
    b = int((~same)[t, :, k].nonzero()[0])
    raise PluginError(
        f"{what}: forward and forward_step differ first at step {t}, column {columns[k]}: {whole[t, b, k]:.6g} against "
        f"{stepped[t, b, k]:.6g}; both must compute the same from rows up to that step"
    )


def _stepped(what: str, network: Any, x: Tensor, targets: int) -> Tensor:
    """Predictions (T, B, K) one step after the other."""
    state = _call(f"{what}: initial_state", lambda: network.initial_state(BATCH))
    _require_tensors(f"{what}: initial_state", state)
    wrong = next((part for part in state if part.ndim < 2 or part.shape[1] != BATCH), None)
    if wrong is not None:
        shape = tuple(wrong.shape)
        raise PluginError(f"{what}: initial_state gives shape {shape} for {BATCH} sequences: dimension 1 is the batch")
    _require_zeros(f"{what}: initial_state", state)
    found = []
    for step in x:
        now = state
        answer = _call(f"{what}: forward_step", lambda step=step, now=now: network.forward_step(step, now))
        _require_pair(f"{what}: forward_step", answer, "prediction (B, targets)")
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


def _require_pair(what: str, answer: Any, first: str) -> None:
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise PluginError(f"{what} must return a pair: {first} and the next state")


def _require_tensors(what: str, state: Any) -> None:
    if not isinstance(state, tuple) or not all(isinstance(part, Tensor) for part in state):
        raise PluginError(f"{what} must give the state as a tuple of tensors")


def _require_zeros(what: str, state: tuple[Tensor, ...]) -> None:
    if any(bool(part.any()) for part in state):
        raise PluginError(f"{what} must be zeros: submissions start every sequence from zeros")


def _require_state(what: str, state: Any, before: tuple[Tensor, ...]) -> None:
    """The state after a step is like the one before it, which is what an exported graph can hold."""
    _require_tensors(what, state)
    shapes = [tuple(tuple(part.shape) for part in parts) for parts in (before, state)]
    if shapes[0] != shapes[1]:
        raise PluginError(f"{what} changes the shapes of the state from {list(shapes[0])} to {list(shapes[1])}")
    kinds = [tuple(str(part.dtype).removeprefix("torch.") for part in parts) for parts in (before, state)]
    if kinds[0] != kinds[1]:
        raise PluginError(f"{what} changes the types of the state from {list(kinds[0])} to {list(kinds[1])}")


def _with(values: Settings) -> str:
    return f" with {', '.join(f'{name}={value}' for name, value in values)}" if values else ""


def _require_equal(what: str, config: RunConfig, whole: Tensor, stepped: Tensor, target_names: tuple[str, ...]) -> None:
    gap = (whole - stepped).abs() > TOLERANCE * (1 + whole.abs())
    if not gap.any():
        return
    t = int(gap.any(1).any(1).nonzero()[0])
    k = int(gap[t].any(0).nonzero()[0])
    b = int(gap[t, :, k].nonzero()[0])
    own = tuple((name, getattr(config, name)) for name in DECLARED["network", config.architecture].parameters)
    raise PluginError(
        f"{what}{_with(own)}: forward and forward_step differ first at step {t}, target {target_names[k]}: "
        f"{whole[t, b, k]:.6f} against {stepped[t, b, k]:.6f}; both must compute the same from rows up to that step"
    )
