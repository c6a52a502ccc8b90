"""`--help` as text for a terminal: what the command is for, its options by what they concern, lines to copy."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from search.cli.manual import Entry, Manual, manual_of

WIDEST = 100  # columns; longer lines are hard to read
OPTION, NAME, STATUS = 26, 15, 9  # columns at which the text of an option, a command or argument, a status begins
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


class Command(TyperCommand):
    """A command with our help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _write(self, ctx, formatter)


class Group(TyperGroup):
    """A group of commands with our help, which is shown where no command is named, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit(2)  # wrong usage, as click says
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _write(self, ctx, formatter)


def examples(*lines: str) -> str:
    """The epilog of a command: lines to copy, each of which may follow a comment of its own."""
    return "\n".join(lines)


def _write(command: Any, ctx: Any, formatter: Any) -> None:
    words: list[str] = []
    while ctx.parent is not None:  # the first is the program, whatever it was called by
        words.insert(0, ctx.info_name)
        ctx = ctx.parent
    manual = manual_of(command, tuple(words))
    width = min(shutil.get_terminal_size((80, 24)).columns, WIDEST)
    formatter.write("\n".join(lines(manual, width, bold="NO_COLOR" not in os.environ)) + "\n")


def lines(manual: Manual, width: int, bold: bool = False) -> Iterator[str]:
    """The help in lines of at most `width` columns. Headings are bold where asked; a pipe gets no escape codes."""

    def heading(text: str) -> str:
        return f"{BOLD}{text}{PLAIN}" if bold else text

    yield from wrap(manual.purpose, width)
    yield ""
    usage = wrap(f"Usage: {manual.usage}", width, subsequent_indent=" " * 7, break_on_hyphens=False)
    yield from (heading("Usage:") + usage[0].removeprefix("Usage:"), *usage[1:])
    for paragraph in manual.description:
        yield ""
        yield from wrap(paragraph, width)
    for title, entries in manual.sections.items():
        yield ""
        yield heading(f"{title}:")
        for entry in entries:
            yield from _entry(entry, width)
    if manual.exits:
        yield ""
        yield heading("Exit status:")
        for status, meaning in manual.exits:
            yield from _columns(status, meaning, width, STATUS)
    if manual.examples:
        yield ""
        yield heading("Examples:" if len(manual.examples) > 1 else "Example:")
        for line in manual.examples:
            yield from (f"  {part}" for part in command_lines(line, width - 2))


def _entry(entry: Entry, width: int) -> Iterator[str]:
    is_option = entry.written.startswith("-")
    yield from _columns(entry.written, entry.told, width, OPTION if is_option else NAME)


def _columns(left: str, right: str, width: int, column: int) -> Iterator[str]:
    """Two columns; what is too long for the first stands on a line of its own."""
    text = wrap(right, width - column, break_on_hyphens=False, break_long_words=False)
    if len(left) + 4 > column:
        yield f"  {left}"
    elif text:
        yield f"  {left}".ljust(column) + text.pop(0)
    yield from (" " * column + line for line in text)


def command_lines(line: str, width: int) -> Iterator[str]:
    """A command, continued with a backslash before an option where the line is too long; still one command to copy. A
    comment that is too long is continued as a comment."""
    if line.startswith("#"):
        yield from wrap(line, width, subsequent_indent="# ")
        return
    shown, *options = re.split(r" (?=-)", line)
    for option in options:
        if len(shown) + len(option) + 3 > width:
            yield f"{shown} \\"
            shown = "   "
        shown += f" {option}"
    yield shown
