"""Makes the man pages from the commands' own help: `python -m tests.docs.make_man docs/man` (or `make man`).

They are committed, and travel in the wheel to share/man/man1: `man lobtuna-work` finds them where `lobtuna` is on the
path, in a virtual environment too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from typer.main import get_command

from search.cli import app
from search.cli.help import command_lines
from search.cli.manual import Entry, Manual, every_manual

ENVIRONMENT = (
    ("LOBTUNA_STORAGE", "The database, where --storage is not given."),
    ("LOBTUNA_DATA", "The folder of the data, where --data is not given."),
    ("NO_COLOR", "If it is set, no text is bold or coloured."),
)

ESCAPES = {"\\": "\\(rs", "-": "\\-", "~": "\\(ti", "^": "\\(ha", "'": "\\(aq", "`": "\\(ga"}  # the first one first


def pages() -> dict[str, str]:
    """Every man page by the name of its file."""
    manuals = list(every_manual(get_command(app)))
    return {f"{_page_of(manual.name)}.1": "\n".join(_lines(manual, manuals)) + "\n" for manual in manuals}


def _page_of(name: str) -> str:
    return name.replace(" ", "-")


def roff(text: str) -> str:
    """Plain text for roff: nothing of it is a command, and a hyphen can be copied as one."""
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return f"\\&{text}" if text.startswith(".") else text


def _lines(manual: Manual, manuals: list[Manual]) -> Iterator[str]:
    page = _page_of(manual.name)
    yield '.\\" Written by `make man`: change the command.'
    yield f'.TH {roff(page.upper())} 1 "" "lobtuna {version("lobtuna")}" "lobtuna"'
    yield from (".ad l", ".nh")  # neither stretched lines nor hyphens in names
    yield from (".SH NAME", f"{roff(page)} \\- {roff(_lower(manual.purpose))}")
    yield from (".SH SYNOPSIS", f".B {roff(manual.usage)}", ".SH DESCRIPTION", roff(manual.purpose))
    for paragraph in manual.description:
        yield from (".PP", roff(paragraph))
    yield from _sections(manual)
    if manual.exits:
        yield ".SH EXIT STATUS"
        for status, meaning in manual.exits:
            yield from (".TP", f".B {roff(status)}", roff(meaning))
    if not manual.words:
        yield ".SH ENVIRONMENT"
        for name, meaning in ENVIRONMENT:
            yield from (".TP", f".B {name}", roff(meaning))
    if manual.examples:
        yield from (
            ".SH EXAMPLES",
            ".nf",
            *(roff(part) for line in manual.examples for part in command_lines(line, 71)),
            ".fi",
        )
    others = (f"\\fB{roff(name)}\\fR(1)" for name in _others(manual, manuals))
    yield from (".SH SEE ALSO", ", ".join(others))


def _sections(manual: Manual) -> Iterator[str]:
    """Arguments, commands and options, each under a heading; groups of the last two as parts of it."""
    last = ""
    for title, entries in manual.sections.items():
        heading = "Options" if entries[0].written.startswith("-") else title if title == "Arguments" else "Commands"
        if heading != last:
            yield f".SH {heading.upper()}"
        if title != heading:
            yield f".SS {title}"
        last = heading
        for entry in entries:
            yield from _entry(entry, manual)


def _entry(entry: Entry, manual: Manual) -> Iterator[str]:
    is_command = bool(entry.names) and not entry.names[0].startswith("-")
    names = [f"\\fB{roff(name)}\\fR" for name in entry.names]
    if is_command:
        names = [f"\\fB{roff(_page_of(f'{manual.name} {entry.names[0]}'))}\\fR(1)"]
    metavar = [f"\\fI{roff(entry.metavar)}\\fR"] if entry.metavar else []
    yield from (".TP", " ".join([*filter(None, [", ".join(names)]), *metavar]), roff(entry.told))


def _others(manual: Manual, manuals: list[Manual]) -> list[str]:
    """The page above, and those below or beside."""
    if not manual.words:
        return [_page_of(other.name) for other in manuals if len(other.words) == 1]
    above = manual.words[:-1]
    near = [other.words for other in manuals if other.words[:-1] == above and other.words and other != manual]
    below = [other.words for other in manuals if other.words[:-1] == manual.words]
    return [_page_of(" ".join(("lobtuna", *words))) for words in [above, *below, *(near if above else ())]]


def _lower(text: str) -> str:
    return (text[0].lower() + text[1:]).removesuffix(".")


def write(folder: Path) -> None:
    """Replace the pages of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.1"):
        old.unlink()
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
