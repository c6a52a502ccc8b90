"""The page on every command, made from the commands' own help: the site has it, a terminal has `--help`."""

from __future__ import annotations

from collections.abc import Iterator

from typer.main import get_command

from search.cli import app
from search.cli.help import command_lines
from search.cli.manual import Entry, Manual, every_manual

HEAD = """# Commands

What `--help` and `man` say of every command. The database is that of `--storage`, else of `LOBTUNA_STORAGE`, else
`lobtuna.db` in the present folder; `LOBTUNA_DATA` stands for `--data` likewise. Results go to standard output, progress
and messages to standard error.
"""


def commands_page() -> str:
    """All commands, each under a heading of its own."""
    return "\n".join([HEAD, *(line for manual in every_manual(get_command(app)) for line in _lines(manual))])


def _lines(manual: Manual) -> Iterator[str]:
    yield f"## {manual.name}\n"
    yield f"{_text(manual.purpose)}\n"
    yield f"```text\n{manual.usage}\n```\n"
    yield from (f"{_text(paragraph)}\n" for paragraph in manual.description)
    for title, entries in manual.sections.items():
        yield f"**{title}**\n"
        yield from (_entry(entry, manual) for entry in entries)
        yield ""
    if manual.exits:
        yield "**Exit status**\n"
        yield from (f"- `{status}`: {_text(meaning)}" for status, meaning in manual.exits)
        yield ""
    if manual.examples:
        yield "**Examples**\n"
        yield from ("```sh", *(part for line in manual.examples for part in command_lines(line, 90)), "```\n")


def _entry(entry: Entry, manual: Manual) -> str:
    if entry.names and not entry.names[0].startswith("-"):
        target = f"{manual.name} {entry.names[0]}".replace(" ", "-")
        return f"- [`{entry.names[0]}`](#{target}): {_text(entry.told)}"
    return f"- `{entry.written}`: {_text(entry.told)}"


def _text(text: str) -> str:
    """Plain text as Markdown: what it marks up is shown."""
    for character in "*_<[":
        text = text.replace(character, f"\\{character}")
    return text
