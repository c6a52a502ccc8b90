"""The decorators of a plugin's file, and what they have registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import nn

from lobmodels.config import RunConfig
from lobmodels.errors import PluginError
from lobmodels.metric import CODE as METRIC_CODE
from lobmodels.networks import ARCHITECTURES
from lobmodels.networks.network import TARGETS
from lobmodels.networks.plugged import PluggedNetwork
from lobmodels.own_features import CODE, RowFeatures
from lobmodels.plugins.declarations import FEATURES, METRIC, Declaration, Parameter, declare
from lobmodels.training.losses import LOSSES

Made = TypeVar("Made", bound=Callable[..., Any])
METHODS = {"initial_state": ("batch",), "forward": ("x",), "forward_step": ("x", "state")}
REGISTRIES: dict[str, Any] = {"network": ARCHITECTURES, "loss": LOSSES, FEATURES: CODE, METRIC: METRIC_CODE}


@dataclass(frozen=True)
class Registered:
    """A part whose source was run: what it declares, and the file that it came from with its digest."""

    declaration: Declaration
    origin: str
    digest: str | None  # None where it was defined in a notebook or a script, not loaded as a plugin


PARTS: dict[tuple[str, str], Registered] = {}  # by kind and name
_loading: list[tuple[str, str]] = []  # origin and digest of the file that runs at this moment


@contextmanager
def loading(origin: str, digest: str) -> Iterator[None]:
    """What registers in this block comes from `origin`, a file whose content has this digest."""
    _loading.append((origin, digest))
    try:
        yield
    finally:
        _loading.pop()


def network(name: str, **parameters: Parameter) -> Callable[[Made], Made]:
    """A class decorator: `architecture: NAME` in a study file builds this network, `parameters` are its own.

    The class is an `nn.Module` built with `(config, input_size, targets)`. `forward` maps whole sequences (T, B, F) to
    (T, B, K); `initial_state(batch)` gives a tuple of tensors, `forward_step` maps one step (B, F) and that state to
    (B, K) and the next state. Both compute the same. Raises `PluginError` for a class that is no such network.
    """

    def enter(cls: Made) -> Made:
        declaration = Declaration("network", name, parameters)
        _require_network(name, cls)

        def build(config: RunConfig, input_size: int, targets: int = TARGETS) -> PluggedNetwork:
            return PluggedNetwork(cls(config, input_size, targets), targets)

        _register(declaration, build)
        return cls

    return enter


def loss(name: str, **parameters: Parameter) -> Callable[[Made], Made]:
    """A decorator of a function `loss(p, y, w, config)`: prediction and target (S, B, K), weights (K,) of mean 1, to a
    scalar that is minimised. `loss: NAME` in a study file uses it. Raises `PluginError` for another signature."""

    def enter(function: Made) -> Made:
        if not callable(function) or _arguments(function) != 4:
            raise PluginError(f"loss {name!r} must be a function of four arguments: loss(p, y, w, config)")
        _register(Declaration("loss", name, parameters), function)
        return function

    return enter


def metric(name: str) -> Callable[[Made], Made]:
    """A decorator of a function `metric(p, y, w)`: predictions, targets and weights of all scored rows, numpy arrays
    (n, K) in float64, to one number a target (K,), higher for better predictions. Data whose schema says
    `metric: {plugin: NAME}` is scored by it. Raises `PluginError` for another signature."""

    def enter(function: Made) -> Made:
        if not callable(function) or _arguments(function) != 3:
            raise PluginError(f"metric {name!r} must be a function of three arguments: metric(p, y, w)")
        _register(Declaration(METRIC, name, {}), function)
        return function

    return enter


def features(
    name: str, *, reads: Sequence[str], gives: Sequence[str], **parameters: Parameter
) -> Callable[[Made], Made]:
    """A decorator of a feature group: `NAME: true` in a study file appends its features `gives` to the raw columns.

    Of a function `group(x, config)`, where a feature depends on its own row alone: the columns `reads` (..., R) in
    float64 to features (..., n). Of a class, where it depends on earlier rows: it is built with `(config)`, `forward`
    maps whole sequences (T, B, R) to (T, B, n), `initial_state(batch)` gives a tuple of zero tensors, `forward_step`
    maps one row (B, R) and that state to (B, n) and the next state. `config` holds the group's own `parameters`.
    Raises `PluginError` for anything else.
    """

    def enter(made: Made) -> Made:
        if isinstance(reads, str) or isinstance(gives, str):
            raise PluginError(f'feature group {name!r}: `reads` and `gives` are lists of names, as in reads=["bid"]')
        if inspect.isclass(made):
            _require_methods(f"feature group {name!r}", made, ("self", "config"))
        elif not callable(made) or _arguments(made) != 2:
            raise PluginError(f"feature group {name!r} must be a class, or a function group(x, config)")
        build = made if inspect.isclass(made) else partial(RowFeatures, made)
        _register(Declaration(FEATURES, name, parameters, tuple(reads), tuple(gives)), build)
        return made

    return enter


def _require_network(name: str, cls: Any) -> None:
    if not inspect.isclass(cls) or not issubclass(cls, nn.Module):
        raise PluginError(f"network {name!r} must be a class derived from torch.nn.Module, not {cls!r}")
    _require_methods(f"network {name!r}", cls, ("self", "config", "input_size", "targets"))


def _require_methods(what: str, cls: Any, init: tuple[str, ...]) -> None:
    for method, arguments in METHODS.items():
        own = getattr(cls, method, None)
        if own is None or own is getattr(nn.Module, method, None):
            raise PluginError(f"{what} has no method {method}({', '.join(arguments)})")
        if _arguments(own) != 1 + len(arguments):
            raise PluginError(f"{what}: {method} must take ({', '.join(('self', *arguments))})")
    if _arguments(cls.__init__) != len(init):
        raise PluginError(f"{what}: __init__ must take ({', '.join(init)})")


def _register(declaration: Declaration, made: Callable[..., Any]) -> None:
    """Enter a part; the same file loaded again replaces what it registered before."""
    kind, name = key = (declaration.kind, declaration.name)
    origin, digest = _loading[-1] if _loading else ("this session", None)
    known = PARTS.get(key)
    if known is not None and known.origin != origin and known.digest != digest:
        raise PluginError(f"{kind} {name!r} is registered by {known.origin} and by {origin}; rename one of them")
    declare(declaration, replace=True)
    REGISTRIES[kind].replace(name, made)
    PARTS[key] = Registered(declaration, origin, digest)


def source_digest(kind: str, name: str) -> str | None:
    """SHA-256 of the file whose part of this name was run here; None for lobtuna's own, and for one that came from no
    file."""
    known = PARTS.get((kind, name))
    return None if known is None else known.digest


def _arguments(function: Any) -> int:
    """How many arguments a function takes by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return -1
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
