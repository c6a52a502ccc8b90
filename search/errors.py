"""The expected failures of `search`, and the one line, with the next step, by which any expected failure is reported.

The command line and every slot's process use the same line. Errors of `lobmodels` name its own arguments and remedies;
here these become options and commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from lobmodels.errors import LobModelsError, Remedy
from storage.errors import StorageError


class SearchError(Exception):
    """Base of every expected failure raised by `search`."""


class SpecError(SearchError):
    """A study file is wrong. `problems` holds every problem found, each with its line where there is one; `name` is the
    study's, where the file says it."""

    def __init__(self, source: str, problems: Iterable[str], name: str | None = None) -> None:
        self.source, self.name = source, name
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
    """A study of this name exists already, with another definition."""


class WorkerCannotGoOn(SearchError):
    """A failure during a trial that ends the whole worker; every other failure of a trial ends that trial alone."""


class StudyDeletedError(WorkerCannotGoOn):
    """The study is no longer in the database."""


class RunNotStoredError(WorkerCannotGoOn):
    """A finished run could not be stored in the database before its worker had to end."""


class RunNotSavedError(RunNotStoredError):
    """Neither the database nor the disk could store a finished run before its worker had to end."""


class RunSavedError(RunNotStoredError):
    """A run finished while the database could not be reached; it is saved to disk, and can be submitted later."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"the finished run is saved in {where}; store it later with: lobtuna submit FILE --storage URL"
        )


class RestartNeeded(WorkerCannotGoOn):
    """Only a fresh process can train any further: the device context of this one is broken, or its run hangs."""


class ReportError(SearchError):
    """A report cannot be written where it was asked for."""


EXPECTED = (LobModelsError, SearchError, StorageError)  # reported in one line; anything else is a bug, with traceback

OTHER_NAMES = {"repetitions": "--bootstrap"}  # arguments whose option has a different name
COMMANDS = {
    Remedy.WRITE_EXAMPLE_DATA: "`lobtuna data synth --output DIR` writes an example",
    Remedy.CHECK_DATA: "`lobtuna data check {subject}` lists all",
    Remedy.EXPORT_SUBMISSION: "write one with: lobtuna export STUDY --output {subject}",
    Remedy.EXPORT_AGAIN: "export it again with: lobtuna export STUDY",
    Remedy.SAVE_SCORE: "make one with: lobtuna score ZIP --data FILE --save {subject}",
    Remedy.FINISH_RUN: "train one with: lobtuna work STUDY",
}


def option_of(argument: str) -> str:
    """The option that sets an argument of the library: `max_mb` is set by `--max-mb`."""
    return OTHER_NAMES.get(argument, f"--{argument.replace('_', '-')}")


def worded(error: LobModelsError) -> str:
    """The message with its arguments as options, followed by the command that helps where there is one."""
    text = str(error)
    for argument in error.arguments:
        option = option_of(argument)
        text = text.replace(f"`{argument}`", option)
        text = re.sub(rf"\b{argument}=(?=\S)", f"{option} ", text)
    if error.remedy is None:
        return text
    return f"{text}; {COMMANDS[error.remedy].format(subject=shlex.quote(error.subject))}"


def told(error: Exception) -> str:
    """The one line that reports one of the `EXPECTED` failures."""
    return worded(error) if isinstance(error, LobModelsError) else str(error)
