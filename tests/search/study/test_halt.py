"""Promises of a request to stop: each is another one, and what cannot be read asks for nothing."""

from pathlib import Path

import pytest

from search.errors import StudyNotFoundError
from search.study.halt import StopRequest, is_request, request_stop, stop_of, token_in, token_of
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


def test_a_request_reaches_whoever_trains_the_study(tmp_path: Path) -> None:
    """The workers of a study train its replicates: they are asked, and those of the study of replicates, by whichever
    name the request is made. One whose study is gone is asked itself."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study, seeds, alone = (create(url, small_study(name)) for name in ("small", "small.seeds", "other.seeds"))
    for asked in (study, seeds):
        request = StopRequest("host")
        assert request_stop(asked, request) == "small"
        assert stop_of(study.user_attrs) == stop_of(seeds.user_attrs) == request
    assert stop_of(alone.user_attrs) is None
    assert request_stop(alone, StopRequest("host")) == "other.seeds"
    assert stop_of(alone.user_attrs) is not None


@pytest.mark.parametrize("stored", [None, "now", 3, {}, {"token": 1}, {"by": "x"}])
def test_a_damaged_request_asks_for_nothing(stored: object) -> None:
    """An attribute that a script has written over ends no worker."""
    assert stop_of({"stop": stored}) is None
    assert token_of({"stop": stored}) == ""


def test_the_token_of_a_study_is_read_by_its_url(tmp_path: Path) -> None:
    """Empty before any request; an unknown study is named with those that are there."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create(url, small_study())
    assert token_in(url, "small", patience=1.0) == ""
    request = StopRequest("host")
    request_stop(study, request)
    assert token_in(url, "small", patience=1.0) == request.token
    with pytest.raises(StudyNotFoundError, match="did you mean small"):
        token_in(url, "smal", patience=1.0)
