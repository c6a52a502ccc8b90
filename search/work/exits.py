"""Exit codes of a worker's process: what its supervisor does next depends on them alone."""

from enum import IntEnum

from search.errors import RestartNeeded, RunNotStoredError
from storage.errors import Unavailable


class Exit(IntEnum):
    """The values follow sysexits.h where it has one, so that other supervisors can tell them apart too."""

    DONE = 0
    EXPECTED = 1  # reported in one line; another process would fail in the same way
    LATER = 69  # the database could not be reached: come back later (EX_UNAVAILABLE)
    CRASHED = 70  # a bug; its traceback is on stderr (EX_SOFTWARE)
    RESTART = 75  # the device context is broken, or a run hangs: a fresh process can go on (EX_TEMPFAIL)


def exit_of(error: Exception) -> Exit:
    """The code for an expected failure that ended a worker."""
    if isinstance(error, RestartNeeded):
        return Exit.RESTART
    if isinstance(error, (Unavailable, RunNotStoredError)):
        return Exit.LATER
    return Exit.EXPECTED
