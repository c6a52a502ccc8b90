"""The learning core speaks of its own arguments; the command line replaces each by an option that exists."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from lobmodels.errors import BundleError, DataError, LobModelsError, Remedy
from search.cli import app, main
from search.errors import COMMANDS, OTHER_NAMES, option_of, worded

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "lobmodels").rglob("*.py"))
# Options, and names of commands as a user would type them. `lobtuna score` scores; "lobtuna export" alone is a verb.
COMMAND_LINE = re.compile(r"(?<![\w-])--[a-z][a-z-]+|lobtuna (demo|data|create|work|run|status|replicate|rank|ensemble"
                          r"|export|score|verify|report|submit|gc|proxy|launch|dashboard)\b")  # fmt: skip


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and sub-command by its name."""
    waiting: list[tuple[str, click.Command]] = [("", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        for child, inner in getattr(command, "commands", {}).items():
            waiting.append((f"{name} {child}".strip(), inner))


def options() -> set[str]:
    """Every option of every command."""
    return {option for _, command in commands() for param in command.params for option in param.opts}


def arguments_of_errors() -> set[str]:
    """What the core's sources write into `arguments=[...]`, and the defaults of `argument` parameters."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "arguments":
                found |= {
                    inner.value
                    for inner in ast.walk(node.value)
                    if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
                }
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_knows_no_command_line(path: Path) -> None:
    """No string of the learning core, docstrings included, holds an option or a command of lobtuna."""
    found = [
        f"line {node.lineno}: {node.value.strip().splitlines()[0]}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and COMMAND_LINE.search(node.value)
    ]
    assert not found


def test_every_argument_is_an_option() -> None:
    """Whatever argument an error names, some command has the option that it is replaced by."""
    named = arguments_of_errors() | {"output", "max_mb", "max_seconds", "csv", "save"}
    assert {"top", "on", "data", "sequences", "repetitions"} <= named
    assert {option_of(name) for name in named} <= options()
    assert set(OTHER_NAMES) <= named


def test_every_remedy_is_a_command() -> None:
    """Each remedy has a sentence, and the command in it exists with the options it is given."""
    assert set(COMMANDS) == set(Remedy)
    known = dict(commands())
    for sentence in COMMANDS.values():
        line = re.search(r"lobtuna ([a-z][^`]*)", sentence)
        assert line is not None
        words = shlex.split(line.group(1).split("` ")[0])
        name = next(name for name in (" ".join(words[:2]), words[0]) if name in known)
        used = {word for word in words if word.startswith("--")}
        assert used <= {option for param in known[name].params for option in param.opts}, sentence


def test_arguments_become_options() -> None:
    """`name` and name=value are replaced where the error lists the name, and nowhere else."""
    error = BundleError(
        "not one fits into max_mb=3: raise `max_mb`; based on `on`, not `top` or on", arguments=["max_mb", "on"]
    )
    assert worded(error) == "not one fits into --max-mb 3: raise --max-mb; based on --on, not `top` or on"
    assert worded(LobModelsError("repetitions=1 is few", arguments=["repetitions"])) == "--bootstrap 1 is few"
    assert worded(DataError("batch_size=9 is large")) == "batch_size=9 is large"


def test_a_remedy_names_its_subject_for_a_shell() -> None:
    """The next command is ready to paste, spaces in a path included."""
    error = DataError("my file: broken", remedy=Remedy.CHECK_DATA, subject="my file")
    assert worded(error) == "my file: broken; `lobtuna data check 'my file'` lists all"


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (["score", "none.zip", "--data", "DATA", "--sequences", "99"], "--sequences 99 is not between 1 and the 12"),
        (["verify", "none.zip", "--data", "DATA", "--sequences", "99"], "--sequences 99 is not between 2 and the 12"),
        (["score", "none.zip", "--data", "DATA"], "write one with: lobtuna export STUDY --output none.zip"),
        (["score", "none.zip", "--data", "DATA", "--champion", "old"], "lobtuna score ZIP --data FILE --save old"),
        (["data", "synth", "--output", "DATA"], "choose another folder or set --overwrite"),
        (["data", "profile", "EMPTY", "--output", "x"], "`lobtuna data synth --output DIR` writes an example"),
        (["data", "profile", "DATA", "--output", "FILE"], "choose another --output"),
    ],
)
def test_commands_say_it_in_their_words(
    arguments: list[str], piece: str, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with options and the next command, as the user typed and would type them."""
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    places = {"DATA": str(small_data), "FILE": str(tmp_path / "file" / "below"), "EMPTY": str(tmp_path / "empty")}
    with pytest.raises(SystemExit) as stop:
        main([places.get(argument, argument) for argument in arguments])
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert piece in err and "`" not in err.replace("`lobtuna", "").replace("DIR`", "")
