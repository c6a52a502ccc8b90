"""What the help says of every command, as data: `--help`, the man pages and the documentation's page are made of it.

All of it comes from the commands themselves: docstrings, options, examples. Only what concerns several commands stands
here, so that they say it alike: which options belong together, and what an exit status means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

# Options that belong together, wherever they are: the heading and its options. All others stand first, as "Options".
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Study and data": ("--storage", "--data", "--artifacts", "--schema"),
    "Where to run": ("--gpus", "--slots", "--runs-per-device", "--device", "--threads"),
    "When to stop": ("--trials", "--time-limit", "--wait"),
    "When something fails": ("--patience", "--keep", "--grace", "--checkpoint-every"),
    "Plugins": ("--plugin", "--trust-plugins"),
    "Output": ("--output", "--out", "--csv", "--json", "--force", "--overwrite"),
}
FEW = 7  # options that need no headings
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "Begin": ("demo", "data"),
    "Search": ("create", "work", "run", "stop"),
    "Look": ("status", "dashboard", "report", "compare", "studies"),
    "Choose": ("replicate", "rank", "refit", "ensemble"),
    "Ship": ("export", "verify", "score"),
    "Machines": ("launch", "wheel", "proxy", "submit"),
    "Clean up": ("delete", "gc"),
}
REQUIRED = "required"
Words = tuple[str, ...]
DONE = ("0", "Done.")
USAGE = ("2", "Wrong usage, such as an unknown option.")
FAILED = "An expected failure, told in one line on standard error: the value, the rule and the next command"
# Commands whose exit status says more than "done" or "failed", by their words after "lobtuna".
EXITS: Mapping[Words, tuple[tuple[str, str], ...]] = {
    (): (DONE, ("1", f"{FAILED}. With a traceback: a bug."), USAGE),
    **dict.fromkeys(
        (("work",), ("run",)),
        (
            (
                "0",
                "The budget is spent, a limit is reached, or a first signal ended work and the trial was handed back.",
            ),
            ("1", f"{FAILED}. Trials that fail do not end a worker."),
            USAGE,
            ("128+N", "A second signal N ended work at once; another worker takes the trial over."),
        ),
    ),
    ("verify",): (("0", "Everything agrees."), ("1", "Something differs: do not send the submission."), USAGE),
    ("data", "check"): (("0", "The format is kept."), ("1", "The data breaks the format."), USAGE),
}


@dataclass(frozen=True)
class Entry:
    """One argument, option or command: how it is written, what follows it, and what it does."""

    names: tuple[str, ...]
    metavar: str
    text: str
    notes: str = ""  # whether it is required, its default, its environment variable

    @property
    def written(self) -> str:
        """As one types it: `-o, --output DIR`."""
        return f"{', '.join(self.names)} {self.metavar}".strip()

    @property
    def told(self) -> str:
        """What it does, and its notes in brackets."""
        return f"{self.text} [{self.notes}]" if self.notes else self.text


@dataclass(frozen=True)
class Manual:
    """The help of one command. `purpose` is its first sentence, `description` the paragraphs after it; `sections` are
    arguments, options and commands by heading; `examples` are lines to copy, `exits` statuses with their meaning."""

    words: Words  # after "lobtuna"
    usage: str
    purpose: str
    description: tuple[str, ...]
    sections: Mapping[str, tuple[Entry, ...]]
    exits: tuple[tuple[str, str], ...]
    examples: tuple[str, ...]

    @property
    def name(self) -> str:
        """The command as one types it."""
        return " ".join(("lobtuna", *self.words))


def manual_of(command: Any, words: Words) -> Manual:
    """The help of a command as typer has built it; `words` lead to it."""
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    purpose, rest = _first_sentence(paragraphs[0])
    options = [_option(p) for p in command.params if p.param_type_name == "option" and not p.hidden]
    arguments = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    sections: dict[str, tuple[Entry, ...]] = {}
    if arguments:
        sections["Arguments"] = tuple(arguments)
    children = getattr(command, "commands", {})
    sections |= _children(children, words) if children else {}
    sections |= _grouped([*options, Entry(("-h", "--help"), "", "Print this help.")])
    places = ["COMMAND"] if children else [entry.metavar for entry in arguments]
    places += [entry.written for entry in options if entry.notes == REQUIRED]
    return Manual(
        words,
        " ".join(("lobtuna", *words, *places, "[OPTIONS]")),
        purpose,
        tuple(part for part in (rest, *paragraphs[1:]) if part),
        sections,
        EXITS.get(words, ()),
        tuple((command.epilog or "").splitlines()),
    )


def every_manual(command: Any, words: Words = ()) -> Iterator[Manual]:
    """The help of `command` and of everything below it, in the order of its page."""
    yield manual_of(command, words)
    children = getattr(command, "commands", {})
    order = [name for names in COMMANDS.values() for name in names] if not words else list(children)
    for name in order:
        yield from every_manual(children[name], (*words, name))


def _first_sentence(text: str) -> tuple[str, str]:
    found = re.match(r"(.+?\.)\s+(.+)", text)
    return (found[1], found[2]) if found else (text, "")


def _children(children: Mapping[str, Any], words: Words) -> dict[str, tuple[Entry, ...]]:
    groups = {"Commands": tuple(children)} if words else COMMANDS
    return {title: tuple(_child(children[name], name) for name in names) for title, names in groups.items()}


def _child(command: Any, name: str) -> Entry:
    return Entry((name,), "", _first_sentence(" ".join((command.help or "").split("\n\n")[0].split()))[0])


def _grouped(options: list[Entry]) -> dict[str, tuple[Entry, ...]]:
    """Options by heading, in the order of `GROUPS`; under one heading where there are few."""
    if len(options) <= FEW:
        return {"Options": tuple(options)}
    title_of = {name: title for title, names in GROUPS.items() for name in names}
    found: dict[str, list[Entry]] = {title: [] for title in ("Options", *GROUPS)}
    for entry in options:
        titles = [title_of[name] for name in entry.names if name in title_of]
        found["Output" if "--help" in entry.names else titles[0] if titles else "Options"].append(entry)
    return {title: tuple(entries) for title, entries in found.items() if entries}


def _argument(parameter: Any) -> Entry:
    return Entry((), parameter.metavar or parameter.name.upper(), parameter.help or "")


def _option(parameter: Any) -> Entry:
    names = (*sorted(parameter.opts, key=lambda name: name.startswith("--")), *parameter.secondary_opts)
    return Entry(
        names, "" if parameter.is_flag else parameter.metavar or "VALUE", parameter.help or "", _notes(parameter)
    )


def _notes(parameter: Any) -> str:
    variable = f"${parameter.envvar}" if parameter.envvar else ""
    if parameter.required:
        return f"{REQUIRED}, or {variable}" if variable else REQUIRED
    shown = parameter.show_default if isinstance(parameter.show_default, str) else _value(parameter.default)
    if not shown:
        return variable
    return f"default: {variable}, or {shown}" if variable else f"default: {shown}"


def _value(default: Any) -> str:
    """A default as one would type it; nothing for one that is no value."""
    if default is None or isinstance(default, bool | list | tuple) or callable(default):
        return ""
    if isinstance(default, Enum):
        return str(default.value)
    return f"{default:g}" if isinstance(default, float) else str(default)
