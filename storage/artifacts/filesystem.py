"""Artifacts as files of one folder: a shared disk, or beside a journal."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts.entry import Artifacts, Entry
from storage.errors import ArtifactError, ArtifactNotStored

NAME = re.compile(r"[0-9a-fA-F-]{8,128}")  # the form of an id; no path that leads out of the folder


class FolderArtifacts(Artifacts):
    """Optuna's artifact protocol over a folder, which the first write creates.

    A file appears whole, under its name, or not at all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:
        """Make the folder now. Raises `ArtifactError` where that is impossible."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(
                f"artifact folder {self.folder}: {error.strerror}; name one that can be written"
            ) from None

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The file, opened. Raises `ArtifactNotFound`."""
        try:
            return self._path(artifact_id).open("rb")
        except FileNotFoundError:
            raise ArtifactNotFound(f"artifact {artifact_id} is not in {self.folder}") from None

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write beside the final name, flush to the disk, then rename. Raises `ArtifactNotStored` where that fails."""
        path = self._path(artifact_id)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                shutil.copyfileobj(content_body, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ArtifactNotStored(f"artifact folder {self.folder}: {error.strerror}; nothing was stored") from error

    def remove(self, artifact_id: str) -> None:
        """Delete the file. Raises `ArtifactNotFound`."""
        try:
            self._path(artifact_id).unlink()
        except FileNotFoundError:
            raise ArtifactNotFound(f"artifact {artifact_id} is not in {self.folder}") from None

    def entries(self) -> Iterator[Entry]:
        """Everything in the folder, unfinished and foreign files too."""
        if not self.folder.exists():
            return
        now = time.time()
        for path in sorted(self.folder.iterdir()):
            try:
                status = path.stat()
            except FileNotFoundError:  # removed, or renamed to its final name, since the folder was read
                continue
            yield Entry(path.name, status.st_size, now - status.st_mtime)

    def _path(self, artifact_id: str) -> Path:
        stem, _, rest = artifact_id.partition(".")
        if not NAME.fullmatch(stem) or (rest and not re.fullmatch(r"[0-9a-f]{32}\.partial", rest)):
            raise ArtifactError(f"artifact id {artifact_id!r} is not valid: ids are hexadecimal digits and dashes")
        return self.folder / artifact_id
