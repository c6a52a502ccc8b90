"""`--help` as a user sees it: 80 columns, every option, lines to copy at the end."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys

import pytest

from search.cli.help import examples, lines
from tests.search.cli.calls import Run
from tests.search.cli.test_manual import MANUALS, options

NAMES = [words for words in MANUALS if words]


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("words", MANUALS, ids=" ".join)
def test_it_fits(words: tuple[str, ...], width: int) -> None:
    """No line is longer than the terminal, no option is cut off or left out."""
    shown = list(lines(MANUALS[words], width))
    assert max(map(len, shown)) <= width, max(shown, key=len)
    assert options(MANUALS[words]) <= {word.strip(",") for line in shown for word in line.split()}


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_it_ends_in_an_example(run: Run, words: tuple[str, ...]) -> None:
    """Whoever asks how gets lines to copy: a shell reads them as they stand."""
    status, out, err = run(*words, "--help")
    assert (status, err) == (0, "") and "\x1b" not in out
    last = out.rstrip().split("\nExample", 1)[1].split(":\n", 1)[1].replace("\\\n", "")
    calls = [shlex.split(line, comments=True) for line in last.splitlines()]
    assert all(call[0] == "lobtuna" for call in calls if call) and any(calls)


def test_headings_are_bold_at_a_terminal_alone() -> None:
    """In a pipe there are no escape codes; NO_COLOR is heeded."""
    code = "from search.cli import main; main(['stop', '--help'])"

    def shown(**extra: str) -> str:
        leader, follower = pty.openpty()
        environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm", **extra}
        subprocess.run([sys.executable, "-c", code], stdout=follower, env=environment, check=True)
        os.close(follower)
        found = b""
        try:
            while part := os.read(leader, 65536):
                found += part
        except OSError:  # Linux says so when the other end is closed
            pass
        os.close(leader)
        return found.decode()

    assert "\x1b[1mUsage:\x1b[0m lobtuna stop" in shown()
    assert "\x1b" not in shown(NO_COLOR="1")


def test_without_a_command_it_is_shown(run: Run) -> None:
    """`lobtuna` and `lobtuna data` alone say what there is."""
    for words in ((), ("data",)):
        status, out, err = run(*words)
        assert (status, err) == (2, "") and out.count(f"Usage: {' '.join(('lobtuna', *words))} COMMAND") == 1


def test_examples_are_kept_as_lines() -> None:
    """A comment stays above its command."""
    assert examples("# why", "lobtuna demo").splitlines() == ["# why", "lobtuna demo"]
