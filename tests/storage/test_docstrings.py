"""Public docstrings of `storage`: measured, and no fewer than 95 in a hundred."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import storage
from storage.artifacts.entry import Artifacts, ArtifactStore
from storage.fleet import Fleet

SHARE = 0.95


def modules() -> Iterator[ModuleType]:
    """Every module of the package."""
    yield storage
    for found in pkgutil.walk_packages(storage.__path__, "storage."):
        yield importlib.import_module(found.name)


def members(owner: Any, module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Public functions, classes, methods and properties that `owner` defines itself."""
    for name, member in vars(owner).items():
        plain = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        ours = getattr(plain, "__module__", module.__name__) == module.__name__
        if not name.startswith("_") and ours and isinstance(plain, (FunctionType, type, property)):
            yield name, plain


def documented(owner: Any, name: str, member: Any) -> bool:
    """Whether a member has a docstring, or overrides one that has.

    A method of Optuna's interface or of a protocol of our own keeps the promise that is written there; repeating it in
    every implementation would only let the copies drift apart.
    """
    if not isinstance(owner, type):
        return bool(inspect.getdoc(member)) if isinstance(member, FunctionType) else "__doc__" in vars(member)
    return any(vars(base)[name].__doc__ for base in owner.__mro__ if name in vars(base))


def public() -> Iterator[tuple[str, bool]]:
    """Every public thing of the package and whether it is documented."""
    for module in modules():
        yield module.__name__, bool(module.__doc__)
        for name, member in members(module, module):
            yield f"{module.__name__}.{name}", documented(module, name, member) and bool(member.__doc__)
            if isinstance(member, type):
                for inner, method in members(member, module):
                    yield f"{module.__name__}.{name}.{inner}", documented(member, inner, method)


def test_what_is_public_is_documented() -> None:
    """At least 95 % of modules, classes, functions, methods and properties say what they are for."""
    found = dict(public())
    missing = [name for name, has in found.items() if not has]
    assert len(found) > 200, "the walk has lost the package"
    assert len(missing) <= (1 - SHARE) * len(found), missing


def test_what_others_inherit_from_is_documented() -> None:
    """The protocols whose words implementations inherit say all of it themselves."""
    for protocol in (Fleet, ArtifactStore, Artifacts):
        for name, method in vars(protocol).items():
            if isinstance(method, FunctionType) and not name.startswith("_"):
                assert method.__doc__, f"{protocol.__name__}.{name}"
