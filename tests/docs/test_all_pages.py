"""No page shows a command or an option that does not exist, and no command is without a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from search.cli import app
from tests.docs.pages import PAGES, ROOT, blocks, commands


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Each command with its options, `data check` and its like as two words."""
    children = getattr(command, "commands", {})
    for name, child in children.items():
        yield from leaves(child, (*path, name))
    if not children:
        yield path, {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


COMMANDS = dict(leaves(get_command(app)))


def command_of(line: str) -> tuple[str, ...]:
    """The command that a line calls: the longest that exists."""
    words = line.split()[1:]
    found = [path for path in COMMANDS if tuple(words[: len(path)]) == path]
    assert found, f"there is no such command: {line}"
    return found[0]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    """Every command shown exists and has the options it is shown with; so does every option of the prose."""
    for line in (line for block in blocks(page) for line in commands(block) if line.startswith("lobtuna ")):
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", line)) <= COMMANDS[command_of(line)] | {"--help"}, line
    text = re.sub(r"^python -m tests\.[^\n]*$", "", PAGES[page], flags=re.MULTILINE)  # their options are their own
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text))
    assert named <= set().union({"--help"}, *COMMANDS.values()), page  # which every command has


def test_every_command_is_documented() -> None:
    """Each command is named by a page, with what it is for."""
    everything = "\n".join(PAGES.values())
    assert [path for path in COMMANDS if f"lobtuna {' '.join(path)}" not in everything] == []


@pytest.mark.parametrize("page", [name for name in PAGES if blocks(name)])
def test_commands_of_a_page_are_run(page: str) -> None:
    """A page that shows commands has a test that runs them."""
    tests = (path.read_text() for path in (ROOT / "tests").glob("**/test_*.py"))
    assert any(f'blocks("{page}")' in text for text in tests)
