"""Every expected end of a worker has its exit code."""

import pytest

from lobmodels.errors import DataError
from search.errors import RestartNeeded, RunNotSavedError, RunSavedError, SearchError, StudyDeletedError
from search.work.exits import Exit, exit_of
from storage.errors import ArtifactError, ArtifactNotStored, DatabaseFull, DatabaseUnavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SearchError("five trials in a row failed"), Exit.EXPECTED),
        (StudyDeletedError("the study was deleted"), Exit.EXPECTED),
        (DataError("no such folder"), Exit.EXPECTED),
        (ArtifactError("access was denied"), Exit.EXPECTED),
        (RestartNeeded("the device cannot be used"), Exit.RESTART),
        (DatabaseUnavailable("no answer"), Exit.LATER),
        (DatabaseFull("no room"), Exit.LATER),
        (ArtifactNotStored("a full disk"), Exit.LATER),
        (RunSavedError("kept/small-3.run"), Exit.LATER),
        (RunNotSavedError("neither the database nor kept/small-3.run"), Exit.LATER),
    ],
)
def test_an_end_has_its_code(error: Exception, code: Exit) -> None:
    """What may pass is come back to; what needs another process gets one; the rest is told in one line."""
    assert exit_of(error) == code


def test_codes_are_told_apart() -> None:
    """By their documented values: other supervisors rely on them."""
    assert {code.name: int(code) for code in Exit} == {
        "DONE": 0, "EXPECTED": 1, "LATER": 69, "CRASHED": 70, "RESTART": 75,
    }  # fmt: skip
