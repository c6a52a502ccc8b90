"""Promises of a request to stop: each is another one, and what cannot be read asks for nothing."""

from pathlib import Path

import pytest

from search.study.halt import StopRequest, is_request, request_stop, stop_of
from tests.machines import create, small_study


def test_a_request_is_read_back_and_each_is_new(tmp_path: Path) -> None:
    """Two requests of one person differ, so that workers notice the second as well."""
    study = create(f"sqlite:///{tmp_path / 'study.db'}", small_study())
    assert stop_of(study.user_attrs) is None
    first, second = StopRequest("host", now=True), StopRequest("host", now=True)
    request_stop(study, first)
    assert stop_of(study.user_attrs) == first != second
    assert first.words() == "lobtuna stop --now on host"
    assert is_request(first.words()) and not is_request("time limit")


@pytest.mark.parametrize("stored", [None, "now", 3, {}, {"token": 1}, {"by": "x"}])
def test_a_damaged_request_asks_for_nothing(stored: object) -> None:
    """An attribute that a script has written over ends no worker."""
    assert stop_of({"stop": stored}) is None
