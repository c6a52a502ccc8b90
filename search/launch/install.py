"""Installs lobtuna from a wheel with a known digest; each launcher carries this file as it stands.

It needs the standard library alone. A package index is asked for the pinned requirements and never for lobtuna: a
package of that name there would be somebody else's, and could read the database's password. Only finished wheels
are accepted, so that nothing of a package runs while it is installed, and pip does not see the password.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

SECRET = "LOBTUNA_STORAGE"
OLDEST_PYTHON = (3, 11)


class InstallError(Exception):
    """lobtuna cannot be installed here; one line says why and what to do."""


def install(
    wheel: Path, sha256: str, requirements: Path, *, target: Path | None = None, torch: list[str] | None = None
) -> None:
    """Install `requirements` and then `wheel`, into this Python or into the folder `target`.

    `sha256` is the wheel's digest. The torch that is here stays as it is; where there is none, `torch` is what pip is
    given to install one (a requirement, options). Raises `InstallError`; nothing is installed before the checks.
    """
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise InstallError(f"{wheel.name} has SHA-256 {found}, not {sha256}: it was damaged or exchanged; launch again")
    if sys.version_info < OLDEST_PYTHON:
        raise InstallError(f"lobtuna needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    before = _torch()
    if before is None:
        if torch is None:
            raise InstallError("there is no torch in this Python: choose an image that has it")
        _pip(*torch)
        before = _torch()
    where = [] if target is None else ["--target", str(target), "--upgrade"]
    _pip("--requirement", str(requirements), *where)
    _pip("--no-deps", "--no-index", "--force-reinstall", str(wheel), *where)
    if _torch() != before or (target is not None and (target / "torch").exists()):
        raise InstallError(f"a requirement replaced torch {before}: launch again from an environment that has no such")


def _torch() -> str | None:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip(*arguments: str) -> None:
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--only-binary", ":all:"]
    environment = {name: value for name, value in os.environ.items() if name != SECRET}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        raise InstallError(
            f"pip install {' '.join(arguments)} failed on Python {sys.version.split()[0]}: "
            + (" ".join(errors[-2:]) or "no reason given")
        )


def main() -> None:
    """`python install.py FOLDER --sha256 DIGEST`: FOLDER holds the wheel and requirements.txt."""
    parser = argparse.ArgumentParser(description="Install lobtuna from the wheel in FOLDER.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sha256", required=True, help="digest of the wheel")
    parser.add_argument("--torch", metavar="REQUIREMENT", help="installed where there is no torch")
    parser.add_argument("--torch-index", metavar="URL", help="index of that torch")
    asked = parser.parse_args()
    wheels = sorted(asked.folder.glob("lobtuna-*.whl"))
    if len(wheels) != 1:
        sys.exit(f"lobtuna: {asked.folder} holds {len(wheels)} wheels of lobtuna, one is expected: launch again")
    torch = [asked.torch] if asked.torch else None
    if torch and asked.torch_index:
        torch += ["--index-url", asked.torch_index]
    try:
        install(wheels[0], asked.sha256, asked.folder / "requirements.txt", torch=torch)
    except InstallError as error:
        sys.exit(f"lobtuna: {error}")


if __name__ == "__main__":
    main()
