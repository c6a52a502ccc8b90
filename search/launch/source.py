"""Finds what the running lobtuna consists of, in a checkout or where pip installed it, so that it can be packed."""

from __future__ import annotations

import hashlib
import tomllib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

import search
from search.errors import SearchError

NAME = "lobtuna"
# What an installer writes into the metadata of a package; a wheel has none of it, and its own RECORD and WHEEL.
INSTALLERS_OWN = {"RECORD", "WHEEL", "INSTALLER", "REQUESTED", "direct_url.json"}


@dataclass(frozen=True)
class Source:
    """The files of a wheel by their path in it, its RECORD and WHEEL files left out."""

    version: str
    files: dict[str, bytes]

    @property
    def info(self) -> str:
        """Name of the folder of metadata."""
        return f"{NAME}-{self.version}.dist-info"


def running_source() -> Source:
    """The lobtuna that runs this line. Raises `SearchError` where its files cannot be determined."""
    root = Path(search.__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file():
        return from_checkout(root)
    return from_installation(metadata.distribution(NAME), root)


def from_checkout(root: Path) -> Source:
    """The packages and the metadata that `pyproject.toml` in `root` describes.

    Raises `SearchError` where the version there is not the one that is installed: studies are marked with the latter.
    """
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project, tool = document["project"], document["tool"]["setuptools"]
    version, installed = project["version"], metadata.version(NAME)
    if version != installed:
        raise SearchError(
            f"{root} says version {version}, but {NAME} is installed as {installed}: install it again with "
            f"pip install -e {root}"
        )
    paths = {path for pattern in tool["packages"]["find"]["include"] for path in root.glob(f"{pattern}/**/*.py")}
    for package, patterns in tool["package-data"].items():
        paths |= {path for pattern in patterns for path in (root / package).glob(pattern)}
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    source = Source(version, files)
    scripts = "".join(f"{name} = {target}\n" for name, target in project["scripts"].items())
    files[f"{source.info}/METADATA"] = _metadata(project).encode()
    files[f"{source.info}/entry_points.txt"] = f"[console_scripts]\n{scripts}".encode()
    for name in project["license-files"]:
        files[f"{source.info}/licenses/{name}"] = (root / name).read_bytes()
    return source


def from_installation(distribution: metadata.Distribution, root: Path) -> Source:
    """The files that pip recorded when it installed lobtuna into `root`, each checked against its recorded hash.

    Raises `SearchError` where a file was changed afterwards, or `root` holds no installed lobtuna.
    """
    source = Source(distribution.version, {})
    for file in distribution.files or []:
        name = file.as_posix()
        own = name.startswith(f"{source.info}/") and file.name in INSTALLERS_OWN
        if own or name.startswith("../") or file.suffix == ".pyc":
            continue
        content = Path(str(file.locate())).read_bytes()
        if file.hash is not None and _record_hash(content) != file.hash.value:
            raise SearchError(f"{root / name} was changed after it was installed: install {NAME} again")
        source.files[name] = content
    if "search/__init__.py" not in source.files or not (root / f"{source.info}").is_dir():
        raise SearchError(
            f"{NAME} runs from {root}, which is neither a checkout nor where pip installed it: "
            "unset PYTHONPATH, or give a wheel with --wheel"
        )
    return source


def _record_hash(content: bytes) -> str:
    """SHA-256 as RECORD writes it."""
    return urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def _metadata(project: dict[str, Any]) -> str:
    """The METADATA file of core metadata 2.4: what an installer and `search.launch.pins` read."""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        *(f"License-File: {name}" for name in project["license-files"]),
        *(f"Classifier: {name}" for name in project["classifiers"]),
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {Requirement(text)}" for text in project["dependencies"]),
    ]
    for extra, texts in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {_for_extra(text, extra)}" for text in texts]
    return "\n".join(lines) + "\n"


def _for_extra(text: str, extra: str) -> str:
    """The requirement `text` where `extra` is asked for, and its own marker holds."""
    requirement = Requirement(text)
    own, requirement.marker = requirement.marker, None
    return f'{requirement} ; {f"({own}) and " if own else ""}extra == "{extra}"'
