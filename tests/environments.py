"""Python environments that do not see the checkout: what a user has after installing a wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Environment:
    """A virtual environment in `folder` and how to run its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    def variables(self, **more: str) -> dict[str, str]:
        """The environment variables of a process in it: nothing of the checkout or of the test's own settings."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("LOBTUNA_STORAGE", "LOBTUNA_DATA", "PYTHON"))}
        return {**own, "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80", **more}

    def run(
        self, *command: str, cwd: Path, check: bool = True, timeout: float = 800, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment; with `check`, its failure fails the test with what it printed."""
        done = subprocess.run(
            command, cwd=cwd, env=self.variables(**more), capture_output=True, text=True, timeout=timeout
        )
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done


def beside_the_tests(folder: Path, without: Sequence[str] = ()) -> Environment:
    """A new environment in which the packages of the tests' own are found, lobtuna excepted; made in a moment.

    A path in a .pth file is searched, but the .pth files in it are not read: the checkout, which was installed by one,
    stays out. The packages named in `without` cannot be imported there.
    """
    venv.create(folder, with_pip=False)
    for name in without:
        (_packages(folder) / f"{name}.py").write_text("raise ImportError('there is none here')\n")
    others = {sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))}
    (_packages(folder) / "others.pth").write_text("".join(f"{path}\n" for path in sorted(others)))
    return Environment(folder)


def empty(folder: Path) -> Environment:
    """A new environment with pip and nothing else; made in a moment."""
    import pip

    venv.create(folder, with_pip=False)
    (_packages(folder) / "pip").symlink_to(pip.__path__[0])
    return Environment(folder)


def _packages(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def from_the_index(folder: Path, *packages: str) -> Environment:
    """A new environment with these packages of the package index, in the versions of constraints.txt. Takes minutes."""
    venv.create(folder, with_pip=True)
    made = Environment(folder)
    pip = ("-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"))
    made.run(made.python, *pip, *packages, cwd=folder, timeout=1200)
    return made
