"""The expected failures of the search side; the command line prints each as one line."""

from collections.abc import Iterable


class SearchError(Exception):
    """Base of every expected failure raised by `search`."""


class SpecError(SearchError):
    """A study file is wrong. `problems` holds every problem found, each with its line where there is one."""

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        self.source = source
        self.problems = list(problems)
        if len(self.problems) == 1:
            text = f"{source}: {self.problems[0]}"
        else:
            text = f"{source} has {len(self.problems)} problems:" + "".join(f"\n  {p}" for p in self.problems)
        super().__init__(text)


class SpaceError(SearchError):
    """A configuration does not lie in the space of a study."""


class StudyNotFoundError(SearchError):
    """No study of this name is in the database."""


class StudyExistsError(SearchError):
    """A study of this name is there already and says something else."""


class RunSavedError(SearchError):
    """A run finished while the database could not be reached; it is saved to disk, and can be submitted later."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"the finished run is saved in {where}; store it later with: lobtuna submit FILE --storage URL"
        )


class RestartNeeded(SearchError):
    """This process cannot train any further, a fresh one can: its device context is broken, or its run hangs."""


class ReportError(SearchError):
    """A report cannot be written where it was asked for."""
