"""The man pages are those of the commands, render without a complaint, and hold every option."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.make_man import pages
from tests.docs.pages import ROOT
from tests.docs.test_all_pages import COMMANDS

MADE = pages()
FOLDER = ROOT / "docs" / "man"


def test_the_committed_pages_are_those_of_the_commands() -> None:
    """One page a command and a group; after a change of a command: `make man`."""
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == MADE


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    """Each page as a terminal of 80 columns shows it, without bold. groff's warnings are errors here."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff is installed: apt-get install groff-base")
    found = {}
    for name in MADE:
        command = [groff, "-man", "-ww", "-Tascii", "-P-c", "-P-b", "-P-u", "-rLL=78n", str(FOLDER / name)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", (name, done.stderr)
        found[name] = re.sub(r".\x08", "", done.stdout)
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_page_renders_and_holds_every_option(rendered: dict[str, str], command: tuple[str, ...]) -> None:
    """Under their names, whole, in at most 80 columns, with an example to copy."""
    text = rendered[f"{'-'.join(('lobtuna', *command))}.1"]
    headings = [line for line in text.splitlines() if re.fullmatch(r"[A-Z ]+", line.strip()) and line[:1] != " "]
    assert headings[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"] and {"OPTIONS", "EXAMPLES", "SEE ALSO"} <= set(headings)
    options = text.split("\nOPTIONS\n")[1]
    wanted = {name for name in COMMANDS[command] if name.startswith("-")}
    assert wanted - set(re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", options)) == set()
    assert max(map(len, text.splitlines())) <= 80
    assert f"lobtuna {' '.join(command)} " in text.split("\nEXAMPLES\n")[1]


def test_the_first_page_names_the_others(rendered: dict[str, str]) -> None:
    """Every command of the first level with its page."""
    first = {command[0] for command in COMMANDS}
    assert {f"lobtuna-{name}(1)" for name in first} <= set(re.findall(r"lobtuna-\w+\(1\)", rendered["lobtuna.1"]))


def test_nothing_of_a_text_is_a_roff_command() -> None:
    """A line that begins with a dot or a quote, and a backslash, come out as they are."""
    from tests.docs.make_man import roff

    groff = shutil.which("groff") or pytest.skip("no groff is installed: apt-get install groff-base")
    text = [".so /etc/hostname", "'\\n[.lf] `a` ~ ^ -x"]
    page = ".TH X 1\n.nf\n" + "\n".join(map(roff, text))
    done = subprocess.run(
        [groff, "-man", "-Tascii", "-P-c", "-P-b", "-P-u"], input=page, capture_output=True, text=True
    )
    assert [line.strip() for line in done.stdout.splitlines() if line.strip()][1:3] == text


def test_the_wheel_carries_them() -> None:
    """`pyproject.toml` puts every page where `man` looks beside `bin`."""
    import tomllib

    files = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    assert {path.name for pattern in files["share/man/man1"] for path in ROOT.glob(pattern)} == set(MADE)
    assert Path(FOLDER / "lobtuna.1").is_file()
