"""The expected failures of the learning core; each message names the value, the rule and what to do.

A message uses the names of this library's own arguments, written `name` in backticks or as name=value, and the error
lists them in `arguments`. A caller with other names, such as the command line, can replace them by its own and turn
`remedy` into its own next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Remedy(StrEnum):
    """What the user can do about a failure; a caller words it as its own command. Some need the error's `subject`."""

    WRITE_EXAMPLE_DATA = "write example data"
    CHECK_DATA = "check the data file `subject`"
    EXPORT_SUBMISSION = "export a submission to `subject`"
    EXPORT_AGAIN = "export the submission again"
    SAVE_SCORE = "save a submission's score to `subject`"
    FINISH_RUN = "finish a run"


class LobModelsError(Exception):
    """Base of every expected failure raised by `lobmodels`.

    `arguments` are the library's arguments that the message names, `remedy` what helps, `subject` the file it is about.
    """

    def __init__(
        self,
        message: str,
        *,
        arguments: Sequence[str] = (),
        remedy: Remedy | None = None,
        subject: str = "",
    ) -> None:
        super().__init__(message)
        self.arguments, self.remedy, self.subject = tuple(arguments), remedy, subject


class DataError(LobModelsError):
    """A data file or folder does not hold what the challenge's format promises."""


class ConfigError(LobModelsError):
    """A configuration contradicts itself or the data it meets. `problems` lists every one of them."""

    def __init__(self, problems: list[str] | str, *, arguments: Sequence[str] = ()) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems), arguments=arguments)


class UnknownNameError(ConfigError):
    """A configuration names something that nothing is registered under."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        self.name, self.known = name, known
        super().__init__(
            f"no {kind} is registered as {name!r}; registered: {', '.join(sorted(known)) or 'none'} "
            f"(docs/extending.md says how to add one; a plugin's is known once its file is loaded)"
        )


class PluginError(LobModelsError):
    """A plugin's file cannot be loaded, or what it registers does not keep the rules of `docs/plugins.md`."""


class TrainingError(LobModelsError):
    """A run cannot go on: its loss or metric is not finite, or the device is out of memory."""


class DeviceError(LobModelsError):
    """A device that was asked for does not exist here, or torch cannot compute on it."""


class DeviceMemoryError(TrainingError):
    """The accelerator has too little free memory for this run; another moment or a smaller run may do."""


class CheckpointError(LobModelsError):
    """A checkpoint is incomplete, damaged, or of a format this version does not read."""


class BundleError(LobModelsError):
    """Members, weights or files do not make a valid submission."""


class ScoringError(LobModelsError):
    """A submission broke a rule of the challenge while it was scored, or scores cannot be compared."""


class OutputError(LobModelsError):
    """A file cannot be written where it was asked for."""
