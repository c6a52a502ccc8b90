"""Pins every package that lobtuna needs to the version installed here, so that the machines elsewhere run the same."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from search.errors import SearchError

TORCH = "torch"  # comes with the machine, built for its GPU: it is not pinned, and neither is what only it needs


def pins(requires: Iterable[str], extras: Iterable[str] = ()) -> tuple[str, ...]:
    """`NAME==VERSION` of all packages that `requires` asks for, with what these need in turn; without torch.

    Versions of a local build (`+cpu`) are pinned without that part, as no index has it. Raises `SearchError` where a
    package is missing here or has a version that lobtuna does not take.
    """
    found: dict[str, str] = {}
    _collect(requires, set(extras), "lobtuna", found, set())
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


def torch_version() -> str:
    """The version of torch here, without the part that names its build. Reads metadata alone."""
    return Version(metadata.version(TORCH)).public


def _collect(
    requires: Iterable[str], extras: set[str], asked_by: str, found: dict[str, str], seen: set[tuple[str, str]]
) -> None:
    """Add to `found` what `requires` asks for; `seen` are the (package, extra) whose own needs are in it already."""
    for requirement in (Requirement(text) for text in requires):
        name = canonicalize_name(requirement.name)
        if name == TORCH or not _applies(requirement, extras):
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            hint = f"pip install '{requirement.name}{requirement.specifier}'"
            raise SearchError(f"{asked_by} needs {name}, which is not installed here: {hint}") from None
        version = Version(distribution.version)
        if not requirement.specifier.contains(version, prereleases=True):
            raise SearchError(
                f"{asked_by} needs {name}{requirement.specifier}, installed here is {version}: "
                f"pip install '{requirement.name}{requirement.specifier}'"
            )
        found[name] = version.public
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                _collect(distribution.requires or [], {extra}, name, found, seen)


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras | {""})
