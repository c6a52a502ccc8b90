"""What a launcher ships to install: the wheel, the pinned requirements, the script that checks and installs them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from search.launch.pins import pins, torch_version
from search.launch.wheel import Wheel, read_wheel, running_wheel

INSTALLER = "install.py"
REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True)
class Package:
    """One lobtuna to install elsewhere."""

    wheel: Wheel
    requirements: tuple[str, ...]  # NAME==VERSION, without torch
    torch: str  # version of torch here, for machines that have none

    @property
    def python(self) -> str:
        """The Python that the requirements were pinned on: `3.11`."""
        return f"{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def requirements_text(self) -> str:
        """requirements.txt."""
        head = f"# What lobtuna {self.wheel.version} ran with on Python {self.python}; torch is the machine's own\n"
        return head + "".join(f"{line}\n" for line in self.requirements)

    def folder(self) -> dict[str, bytes]:
        """The files to put beside each other, by name."""
        return {
            self.wheel.name: self.wheel.content,
            REQUIREMENTS: self.requirements_text.encode(),
            INSTALLER: installer().encode(),
        }

    def command(self, python: str, folder: str) -> list[str]:
        """Installs from `folder` into the environment of `python`; a torch that is there stays."""
        torch = ["--torch", f"torch=={self.torch}"]
        return [python, f"{folder}/{INSTALLER}", folder, "--sha256", self.wheel.sha256, *torch]


def installer() -> str:
    """The source of `search.launch.install`."""
    return files("search.launch").joinpath(INSTALLER).read_text(encoding="utf-8")


def make_package(extras: Iterable[str] = (), wheel: Path | None = None) -> Package:
    """Pack the running lobtuna, or take the one in the file `wheel`, with the requirements of these extras.

    Raises `SearchError` where the wheel cannot be made or read, or a requirement is not installed here.
    """
    packed = running_wheel() if wheel is None else read_wheel(wheel)
    return Package(packed, pins(packed.requires, extras), torch_version())
