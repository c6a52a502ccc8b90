"""A plugin's source as data: one file, known by its digest, with what it declares. `loading` runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lobmodels.errors import PluginError
from lobmodels.plugins.declarations import Declaration


@dataclass(frozen=True)
class Source:
    """One plugin: the name of its file, its text, and what it declares."""

    file: str
    text: str
    declarations: tuple[Declaration, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the text, by which a plugin is trusted and compared."""
        return digest_of(self.text)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a study keeps them."""
        parts = [part.to_json() for part in self.declarations]
        return {"file": self.file, "sha256": self.digest, "source": self.text, "parts": parts}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Source:
        """What `to_json` made. Raises `PluginError` where the source is not the one of its digest."""
        try:
            parts = tuple(map(Declaration.from_json, document["parts"]))
            source, stored = Source(str(document["file"]), str(document["source"]), parts), document["sha256"]
        except (KeyError, TypeError) as error:
            raise PluginError(f"a stored plugin cannot be read: {error!r}") from None
        if source.digest != stored:
            raise PluginError(
                f"the stored source of {source.file} has SHA-256 {source.digest[:16]}, not {stored[:16]} as recorded: "
                "it was changed in the database; do not run it"
            )
        if source.file != Path(source.file).name:
            raise PluginError(f"a stored plugin names the file {source.file!r}: only a plain name is accepted")
        return source


def digest_of(text: str) -> str:
    """SHA-256 of a source, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
