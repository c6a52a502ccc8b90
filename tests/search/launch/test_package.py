"""Promises of what launchers bring: a folder with wheel, pins and script, and the command that uses them."""

from pathlib import Path

import pytest

from search.errors import SearchError
from search.launch.package import installer, make_package
from search.launch.pins import torch_version
from search.launch.wheel import running_wheel
from tests.environments import ROOT


def test_the_folder_holds_all_and_the_command_names_it() -> None:
    """The wheel under its name, its digest in the command and not beside it, torch as it is here for bare machines."""
    package = make_package()
    wheel = running_wheel()
    files = package.folder()
    assert files[wheel.name] == wheel.content and len(files) == 3
    assert files["requirements.txt"].decode().splitlines()[1:] == list(package.requirements)
    assert installer() == (ROOT / "search" / "launch" / "install.py").read_text()
    assert package.command("python", "/lobtuna") == [
        "python", "/lobtuna/install.py", "/lobtuna", "--sha256", wheel.sha256, "--torch", f"torch=={torch_version()}"
    ]  # fmt: skip
    assert wheel.sha256 not in "".join(files[name].decode() for name in ("requirements.txt", "install.py"))


def test_another_wheel_can_be_given(tmp_path: Path) -> None:
    """A file replaces the running code; one that is not there is refused."""
    wheel = running_wheel()
    (tmp_path / wheel.name).write_bytes(wheel.content)
    assert make_package(wheel=tmp_path / wheel.name).wheel.sha256 == wheel.sha256
    with pytest.raises(SearchError, match="there is no wheel"):
        make_package(wheel=tmp_path / "none.whl")
