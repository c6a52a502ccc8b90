"""The promise of the protocol: every fleet has all of its operations, with the same arguments."""

import inspect

import pytest

from storage.backends.grpc import ProxyFleet
from storage.backends.plain_fleet import PlainFleet
from storage.backends.sql_fleet import SqlFleet
from storage.fleet import Fleet

OPERATIONS = ("claim", "beat", "write", "seize", "recover", "unheard", "now", "redefine")


@pytest.mark.parametrize("kind", [SqlFleet, PlainFleet, ProxyFleet])
def test_every_fleet_is_whole(kind: type[Fleet]) -> None:
    """No operation is the protocol's own empty one, and callers may name the arguments."""
    for name in OPERATIONS:
        assert getattr(kind, name) is not getattr(Fleet, name)
        assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(Fleet, name))
    assert isinstance(kind.shares_clock, bool)


def test_the_operations_are_those_of_the_protocol() -> None:
    """The list above leaves none out."""
    defined = {name for name, member in vars(Fleet).items() if inspect.isfunction(member) and not name.startswith("_")}
    assert defined == set(OPERATIONS)
