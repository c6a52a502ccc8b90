"""Packs the running lobtuna into a wheel without a build tool: the code that launches is the code that is launched."""

from __future__ import annotations

import hashlib
import io
import zipfile
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from functools import cached_property
from pathlib import Path

from search.errors import SearchError
from search.launch.source import NAME, Source, running_source

WHEEL = "Wheel-Version: 1.0\nGenerator: lobtuna wheel\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
BEGINNING = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can write: all files have it, so that bytes repeat


@dataclass(frozen=True)
class Wheel:
    """A wheel of lobtuna in memory."""

    name: str  # of its file
    content: bytes

    @property
    def sha256(self) -> str:
        """Digest of the whole file, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def metadata(self) -> Message:
        """Its METADATA. Raises `KeyError` and `zipfile.BadZipFile` where it is no wheel."""
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            name = next((n for n in archive.namelist() if n.endswith(".dist-info/METADATA")), "METADATA")
            return Parser().parsestr(archive.read(name).decode())

    @property
    def version(self) -> str:
        """The version of lobtuna in it."""
        return str(self.metadata["Version"])

    @property
    def requires(self) -> list[str]:
        """Its requirements, with their extras as markers."""
        return [str(value) for value in self.metadata.get_all("Requires-Dist", [])]


def running_wheel() -> Wheel:
    """The wheel of the lobtuna that runs this line. Equal files give equal bytes, on any machine.

    Raises `SearchError` where its files cannot be determined (see `search.launch.source`).
    """
    return pack(running_source())


def pack(source: Source) -> Wheel:
    """The wheel of these files: in order of their names, uncompressed (compressors differ), with one fixed time."""
    files = {**source.files, f"{source.info}/WHEEL": WHEEL.encode()}
    record = "".join(_recorded(name, files[name]) for name in sorted(files)) + f"{source.info}/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in [*sorted(files.items()), (f"{source.info}/RECORD", record.encode())]:
            entry = zipfile.ZipInfo(name, BEGINNING)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # as on Unix, whatever packs
            archive.writestr(entry, content)
    return Wheel(f"{NAME}-{source.version}-py3-none-any.whl", buffer.getvalue())


def read_wheel(path: Path) -> Wheel:
    """A wheel of lobtuna from a file. Raises `SearchError` where there is none, or it is damaged or another's."""
    try:
        wheel = Wheel(path.name, path.read_bytes())
    except OSError as error:
        raise SearchError(f"there is no wheel {path} ({error.strerror}): write one with lobtuna wheel") from None
    try:
        with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
            damaged = archive.testzip()
        name = wheel.metadata["Name"]
    except (zipfile.BadZipFile, KeyError):
        raise SearchError(f"{path} is no wheel, or only a part of one: write one with lobtuna wheel") from None
    if damaged or name != NAME or not path.name.startswith(f"{NAME}-{wheel.version}-"):
        what = f"{damaged} in it is damaged" if damaged else f"it holds {name} {wheel.version}"
        raise SearchError(f"{path} is no wheel of {NAME}: {what}; write one with lobtuna wheel")
    return wheel


def _recorded(name: str, content: bytes) -> str:
    digest = urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{name},sha256={digest},{len(content)}\n"
