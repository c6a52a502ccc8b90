"""A registry answers with what was registered, or names what was asked and what there is."""

import pytest

from lobmodels.errors import ConfigError, UnknownNameError
from lobmodels.registry import Registry


def filled() -> Registry[int]:
    """Two entries."""
    registry: Registry[int] = Registry("number")
    registry.register("two")(2)
    registry.register("one")(1)
    return registry


def test_entries_are_found_by_name() -> None:
    """What a decorator enters is returned unchanged, by the decorator and by the registry."""
    registry = filled()
    assert registry.register("three")(3) == 3
    assert registry["one"] == 1 and registry["three"] == 3
    assert registry.names == ("two", "one", "three")


@pytest.mark.parametrize("name", ["ones", "", "ONE"])
def test_other_names_are_refused(name: str) -> None:
    """The message holds the kind, the name and the known ones in order; it is an error of the configuration."""
    message = f"^no number is registered as '{name}'; registered: one, two "
    with pytest.raises(UnknownNameError, match=message) as caught:
        filled()[name]
    assert isinstance(caught.value, ConfigError) and len(caught.value.problems) == 1
    assert caught.value.name == name and set(caught.value.known) == {"one", "two"}


def test_an_empty_registry_says_so() -> None:
    """No list of names where there is none."""
    with pytest.raises(UnknownNameError, match="registered: none "):
        Registry[int]("number")["one"]


def test_a_name_is_taken_once() -> None:
    """A second entry under one name would replace the first without a word."""
    with pytest.raises(ValueError, match="two entries for the number 'one'"):
        filled().register("one")


def test_whose_an_entry_is() -> None:
    """What a plugin entered or replaced is not ours, and neither is what nobody entered."""
    registry = filled()
    registry.replace("two", 22)
    registry.replace("four", 4)
    assert [registry.is_own(name) for name in ("one", "two", "four", "five")] == [True, False, False, False]
