"""Promises of the watch over trials without a claim: what was seen is kept in a token, earlier ones are understood.

Who is taken back when is tested in test_sql_recovery.py.
"""

import pytest

from storage.backends.sql_unclaimed import Watched


@pytest.mark.parametrize(
    ("token", "watched"),
    [
        (None, None),
        ("step -1", Watched(-1)),
        ("step 12", Watched(12)),
        ("step 12, 340 s", Watched(12, 340.0)),
        ("2c5ea4c0fa2e4b3ba0f5b3a1e5d8f7aa", None),
    ],
)
def test_a_token_says_what_was_watched(token: str | None, watched: Watched | None) -> None:
    """Also one of an earlier version; a worker's own token says nothing of this."""
    assert Watched.of(token) == watched


def test_what_was_watched_is_read_again() -> None:
    """To the second, and never more than was watched."""
    assert Watched.of(Watched(7, 61.9).to_token()) == Watched(7, 61.0)
