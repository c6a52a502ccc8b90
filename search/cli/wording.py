"""Failures of the learning core in the words of the command line: arguments as options, remedies as commands."""

from __future__ import annotations

import re
import shlex

from lobmodels.errors import LobModelsError, Remedy

OTHER_NAMES = {"repetitions": "--bootstrap"}  # arguments whose option has another name than they have
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
