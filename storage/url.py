"""Storage URLs: what a checked one holds, how it may be shown, and what file URLs have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from storage.errors import UrlError

_USER = re.compile(r"://(?!/)[^:]*:")  # up to where a password begins; a file URL has three slashes, and none
_SECRET_OPTION = re.compile(
    r"(?i)\b(?:password|passwd|pwd|sslpassword|token|secret|signature|sig|"
    r"aws_secret_access_key|aws_session_token)=(?=.)"
)
_FILE = re.compile(r"(?i)(?:sqlite:/{3}|journal:/{2})")
_NO_PORT = re.compile(r"^((?>(?:[^:/?]*@)?\[[\da-fA-F:.]*\]|[^:/?]*)):(?!\d+(?:[/?,]|$))[^/?]*")


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
    """`text` with every password of a URL in it replaced by ***.

    A password may hold any sign, so that nothing in a text shows where it ends. Too much is hidden rather than too
    little: all from the first colon that may end a user's name to the last @, and all that follows a secret option.
    """
    user = _USER.search(text)
    return _hidden(text, len(text) if user is None else user.end())


def redact_url(url: str) -> str:
    """A whole URL, well formed or not, without anything that may be a password.

    Everything between the first colon of what stands before the last @ and that @ is hidden, spaces included; without
    an @, what stands in the place of the port is shown only where it is a number.
    """
    url = url.strip()
    if _FILE.match(url):
        return redact(url)
    match = re.match(r"[\w.+-]+:/{1,3}(?![/:])", url)
    head = "" if match is None else match[0]
    colon = url.find(":", len(head))
    if 0 <= colon < url.rfind("@"):
        return _hidden(url, colon + 1)
    return redact(head + _NO_PORT.sub(r"\1:***", url[len(head) :]))


def _hidden(text: str, password: int) -> str:
    """`text` without what stands between `password` and the last @, and without what follows a secret option."""
    at, option = text.rfind("@"), _SECRET_OPTION.search(text)
    cut = len(text) if option is None else option.end()
    if at < password:
        return text[:cut] + "***" * (cut < len(text))
    if at < cut:
        return f"{text[:password]}***{text[at:cut]}" + "***" * (cut < len(text))
    return f"{text[: min(password, cut)]}***"


def file_of(kind: str, name: str, url: str) -> Path:
    """The database file that a `url` of this kind names in its part `name`. Raises `UrlError`."""
    name, mark, _ = name.partition("?")
    name = unquote(name)
    if not name or name == ":memory:":
        raise UrlError(f"storage {redact_url(url)!r} names no file: other processes could not see the study")
    if "{" in name or "}" in name:
        raise UrlError(
            f"storage {redact_url(url)!r} holds a brace, which Optuna would take for a template: rename the file"
        )
    if mark:
        raise UrlError(f"storage {redact_url(url)!r} has options; {kind} takes none, it is tuned already")
    path = Path(name).expanduser()
    if path.is_dir():
        raise UrlError(f"storage {redact_url(url)!r} is a folder: name a file in it, such as {path / 'lobtuna.db'}")
    return path
