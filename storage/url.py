"""Storage URLs: what a checked one holds, how it may be shown, and what file URLs have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from storage.errors import UrlError

_USERINFO = re.compile(r"(?<=://)(?P<user>[^\s:/@]*):(?P<password>[^\s]*)@(?=[^\s@]*)")
_SECRET_OPTION = re.compile(
    r"(?i)\b(?P<name>password|passwd|pwd|sslpassword|token|secret|signature|sig|"
    r"aws_secret_access_key|aws_session_token)=(?P<value>[^&\s'\",;]+)"
)


@dataclass(frozen=True)
class StorageUrl:
    """A checked URL. `driver` is what the driver gets, password included: never print it."""

    driver: str
    path: Path | None = None  # of a database that is a file
    host: str = ""  # of a proxy
    port: int = 0

    def __repr__(self) -> str:
        return f"StorageUrl({redact(self.driver)!r})"


def redact(text: str) -> str:
    """`text` with every password of a URL in it replaced by ***."""
    return _SECRET_OPTION.sub(r"\g<name>=***", _USERINFO.sub(r"\g<user>:***@", text))


def redact_url(url: str) -> str:
    """A whole URL, well formed or not, without anything that may be a password.

    Everything between the first colon of what stands before the last @ and that @ is hidden, spaces included; without
    an @, what stands in the place of the port is shown only where it is a number.
    """
    match = re.fullmatch(r"(?s)\s*(?P<head>[\w.+-]+:/{1,3}(?![/:]))?(?P<rest>.*?)\s*", url)
    assert match is not None  # it matches every text
    head, rest = match["head"] or "", match["rest"]
    userinfo, at, host = rest.rpartition("@")
    if at:
        user, colon, _ = userinfo.partition(":")
        rest = f"{user}:***@{host}" if colon else rest
    elif not head.startswith(("sqlite", "journal")):
        rest = re.sub(r"^([^:/?\s]*):(?!\d+(?:[/?,]|$))[^/?]*", r"\1:***", rest)
    return redact(head + rest)


def file_of(kind: str, name: str, url: str) -> Path:
    """The database file that a `url` of this kind names in its part `name`. Raises `UrlError`."""
    name, mark, _ = name.partition("?")
    name = unquote(name)
    if not name or name == ":memory:":
        raise UrlError(f"storage {url!r} names no file: other processes could not see the study")
    if "{" in name or "}" in name:
        raise UrlError(f"storage {url!r} holds a brace, which Optuna would take for a template: rename the file")
    if mark:
        raise UrlError(f"storage {url!r} has options; {kind} takes none, it is tuned already")
    path = Path(name).expanduser()
    if path.is_dir():
        raise UrlError(f"storage {url!r} is a folder: name a file in it, such as {path / 'lobtuna.db'}")
    return path
