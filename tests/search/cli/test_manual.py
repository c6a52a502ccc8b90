"""What the help says of every command, as data."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.main import get_command

from search.cli import app
from search.cli.manual import COMMANDS, EXITS, GROUPS, Manual, every_manual, manual_of

ROOT: Any = get_command(app)
MANUALS = {manual.words: manual for manual in every_manual(ROOT)}
by_name = pytest.mark.parametrize("manual", MANUALS.values(), ids=lambda manual: manual.name)


def options(manual: Manual) -> set[str]:
    """All names of options."""
    entries = (entry for entries in manual.sections.values() for entry in entries)
    return {name for entry in entries for name in entry.names if name.startswith("-")}


def test_every_command_stands_under_one_heading() -> None:
    """What the command line offers and what its first page lists are the same, each once."""
    listed = [name for names in COMMANDS.values() for name in names]
    assert sorted(listed) == sorted(ROOT.commands) and {words[0] for words in MANUALS if words} == set(listed)


@by_name
def test_it_begins_with_a_sentence_of_purpose(manual: Manual) -> None:
    """One sentence that fits two lines of a terminal and says what the command does."""
    assert re.fullmatch(r"[A-Z][^.]*(\.\S[^.]*)*\.", manual.purpose) and len(manual.purpose) <= 140, manual.purpose
    assert all(part.endswith((".", ":")) for part in manual.description)


@by_name
def test_its_examples_are_commands_with_real_options(manual: Manual) -> None:
    """Each line to copy calls this command, or another for the other machine, with options that it has."""
    calls = [shlex.split(line.split("  #")[0]) for line in manual.examples if not line.startswith("#")]
    assert any(call[: len(manual.words) + 1] == ["lobtuna", *manual.words] for call in calls)
    for call in calls:
        words = max((words for words in MANUALS if call[1 : len(words) + 1] == list(words)), key=len)
        assert {word for word in call if re.match(r"--?[a-z]", word)} <= options(MANUALS[words]), call


@by_name
def test_every_option_says_what_it_takes_and_does(manual: Manual) -> None:
    """A flag takes nothing; everything else names its value; every text is a sentence or two."""
    for title, entries in manual.sections.items():
        for entry in entries:
            assert entry.text and entry.text.endswith("."), (title, entry)
            assert entry.metavar not in ("VALUE", "TEXT", "INTEGER"), entry


def test_groups_and_exits_name_what_is_there() -> None:
    """A heading for an option, or a status of a command, that is gone would mislead whoever changes this next."""
    every = {name for manual in MANUALS.values() for name in options(manual)}
    assert {name for names in GROUPS.values() for name in names} <= every
    assert set(EXITS) <= set(MANUALS)


def test_an_option_stands_under_the_same_heading_everywhere() -> None:
    """Where options have headings; a command with few has one."""
    places: dict[str, set[str]] = {}
    for manual in MANUALS.values():
        if set(manual.sections) & set(GROUPS):
            for title, entries in manual.sections.items():
                for name in (name for entry in entries for name in entry.names):
                    places.setdefault(name, set()).add(title)
    assert {name: titles for name, titles in places.items() if len(titles) > 1} == {}
    assert places["--storage"] == {"Study and data"} and places["--patience"] == {"When something fails"}


def test_notes() -> None:
    """Whether an option must be given, by which variable it can be, and what holds otherwise."""
    entries = {entry.names[-1]: entry for es in MANUALS[("work",)].sections.values() for entry in es if entry.names}
    assert entries["--data"].told.endswith("[required, or $LOBTUNA_DATA]")
    assert entries["--storage"].notes == "default: $LOBTUNA_STORAGE, or sqlite:///lobtuna.db"
    assert entries["--grace"].notes == "default: 60" and entries["--gpus"].notes == ""
    assert MANUALS[("data", "cut")].usage == "lobtuna data cut FILE --schema FILE --output DIR [OPTIONS]"


def test_hidden_options_stay_hidden() -> None:
    """An option that is marked as hidden is not in the help."""
    import typer

    made = typer.Typer()

    @made.command()
    def command(secret: bool = typer.Option(False, "--secret", hidden=True, help="No.")) -> None:
        """Do it."""

    assert options(manual_of(get_command(made), ())) == {"--install-completion", "--show-completion", "-h", "--help"}
