"""Promises of the script that every launcher carries: nothing is installed unchecked; torch stays as it is."""

import ast
import hashlib
import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from search.launch.install import InstallError, install
from search.launch.package import INSTALLER, REQUIREMENTS, Package
from search.launch.wheel import Wheel, running_wheel
from tests.environments import ROOT, Environment, beside_the_tests, empty


def small_wheel(folder: Path, name: str, version: str, requires: str = "", code: str = "") -> Path:
    """A wheel of one module, to stand for a package of the index."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", code)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package folder as a launcher writes it, with no requirements."""
    made = tmp_path / "package"
    made.mkdir()
    for name, content in Package(running_wheel(), (), "2.13.0").folder().items():
        (made / name).write_bytes(content)
    return made


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment without lobtuna."""
    return beside_the_tests(tmp_path / "environment")


def test_it_needs_the_standard_library_alone() -> None:
    """It runs before anything is installed."""
    tree = ast.parse((ROOT / "search" / "launch" / INSTALLER).read_text())
    named = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    modules = {a.name for n in named if isinstance(n, ast.Import) for a in n.names}
    modules |= {str(n.module) for n in named if isinstance(n, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} <= set(sys.stdlib_module_names)


def test_it_installs_from_the_folder(folder: Path, environment: Environment, tmp_path: Path) -> None:
    """The command that launchers write makes `lobtuna` available; run again, it does no harm."""
    command = Package(running_wheel(), (), "2.13.0").command(environment.python, str(folder))
    for _ in range(2):
        environment.run(*command, cwd=tmp_path)
        assert "Usage" in environment.run("lobtuna", "--help", cwd=tmp_path).stdout


def test_a_wheel_of_another_digest_is_refused(folder: Path, environment: Environment, tmp_path: Path) -> None:
    """One changed byte: one line, exit 1, nothing installed; the same for a folder without its wheel."""
    wheel = next(folder.glob("*.whl"))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    command = (environment.python, str(folder / INSTALLER), str(folder), "--sha256", digest)
    refused = environment.run(*command, cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"lobtuna: {wheel.name} has SHA-256 ") and refused.stderr.count("\n") == 1
    assert not list(environment.folder.rglob("search"))
    wheel.unlink()
    refused = environment.run(*command, cwd=tmp_path, check=False)
    assert refused.returncode == 1 and "holds 0 wheels of lobtuna" in refused.stderr


def test_lobtuna_never_comes_from_an_index(folder: Path, environment: Environment, tmp_path: Path) -> None:
    """Where an index offers a newer package of our name, ours is installed all the same."""
    index = tmp_path / "index"
    index.mkdir()
    small_wheel(index, "lobtuna", "99.0", code="raise SystemExit('a stranger ran')\n")
    command = Package(running_wheel(), (), "2.13.0").command(environment.python, str(folder))
    environment.run(*command, cwd=tmp_path, PIP_FIND_LINKS=str(index), PIP_NO_INDEX="1")
    found = environment.run(environment.python, "-m", "pip", "show", "lobtuna", cwd=tmp_path).stdout
    assert f"Version: {running_wheel().version}\n" in found


def test_pip_does_not_see_the_password_and_runs_nothing_of_a_package(
    folder: Path, environment: Environment, tmp_path: Path
) -> None:
    """A requirement that exists as source only is refused before its code runs; pip is not given the secret."""
    index = tmp_path / "index"
    source = index / "evil-1.0"
    source.mkdir(parents=True)
    (source / "setup.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom setuptools import setup\nsetup(name='evil')\n"
    )
    with tarfile.open(index / "evil-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "evil-1.0")
    (folder / REQUIREMENTS).write_text("evil==1.0\n")
    command = Package(running_wheel(), (), "2.13.0").command(environment.python, str(folder))
    refused = environment.run(*command, cwd=tmp_path, check=False, PIP_FIND_LINKS=str(index), PIP_NO_INDEX="1")
    assert refused.returncode == 1 and "evil==1.0" in refused.stderr
    assert not (tmp_path / "ran").exists()
    spy = tmp_path / "spy" / "pip"
    spy.mkdir(parents=True)
    (spy / "__init__.py").touch()
    (spy / "__main__.py").write_text(
        f"import os\nopen({str(tmp_path / 'seen')!r}, 'w').write(repr(dict(os.environ)))\n"
    )
    more = {"PYTHONPATH": str(spy.parent), "LOBTUNA_STORAGE": "postgresql://me:hidden@host/db"}
    environment.run(*command, cwd=tmp_path, **more)
    seen = (tmp_path / "seen").read_text()
    assert "PYTHONPATH" in seen and "hidden" not in seen


def test_a_requirement_that_would_replace_torch_is_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a notebook's packages must not hold a second torch, which would hide the image's."""
    index = tmp_path / "index"
    index.mkdir()
    small_wheel(index, "wants_torch", "1.0", "Requires-Dist: torch\n")
    small_wheel(index, "torch", "99.0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # a constraint of this machine may name torch
    (folder / REQUIREMENTS).write_text("wants_torch==1.0\n")
    wheel = running_wheel()
    with pytest.raises(InstallError, match="a requirement replaced torch"):
        install(folder / wheel.name, wheel.sha256, folder / REQUIREMENTS, target=tmp_path / "target")


def test_without_torch_it_installs_the_named_one_or_says_so(folder: Path, tmp_path: Path) -> None:
    """A bare environment gets the torch it is told; told none, the image is to blame and nothing is installed."""
    bare = empty(tmp_path / "bare")
    index = tmp_path / "index"
    index.mkdir()
    small_wheel(index, "torch", "2.13.0")
    offline = {"PIP_FIND_LINKS": str(index), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    command = Package(running_wheel(), (), "2.13.0").command(bare.python, str(folder))
    refused = bare.run(*command[: command.index("--torch")], cwd=tmp_path, check=False, **offline)
    assert refused.returncode == 1 and "there is no torch in this Python" in refused.stderr
    bare.run(*command, cwd=tmp_path, **offline)
    assert "Version: 2.13.0" in bare.run(bare.python, "-m", "pip", "show", "torch", cwd=tmp_path).stdout


def test_what_pip_says_comes_through(folder: Path, environment: Environment, tmp_path: Path) -> None:
    """A pin that no index has for this Python: pip's own words, the Python, and exit 1."""
    (folder / REQUIREMENTS).write_text("no-such-package==1.0\n")
    command = Package(running_wheel(), (), "2.13.0").command(environment.python, str(folder))
    refused = environment.run(*command, cwd=tmp_path, check=False, PIP_NO_INDEX="1")
    assert refused.returncode == 1
    assert "No matching distribution found for no-such-package==1.0" in refused.stderr
    assert f"on Python {sys.version.split()[0]}" in refused.stderr


def test_the_digest_is_that_of_the_file() -> None:
    """What launchers write down is the SHA-256 of the wheel's bytes."""
    wheel = running_wheel()
    assert wheel.sha256 == hashlib.sha256(wheel.content).hexdigest()
    assert isinstance(wheel, Wheel) and zipfile.is_zipfile(io.BytesIO(wheel.content))
