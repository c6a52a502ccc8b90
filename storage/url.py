"""Storage URLs in one place: what is accepted, how it is spelled for the driver, and how it may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from storage.errors import UrlError

Kind = Literal["sqlite", "postgresql", "grpc", "journal"]

# The driver is named, so that one URL means one thing under every SQLAlchemy: psycopg 3.
SCHEMES: dict[str, Kind] = {
    "sqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "postgresql+psycopg": "postgresql",
    "grpc": "grpc",
    "journal": "journal",
}
FORMS = "sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE, grpc://HOST:PORT or journal://FILE"
GRPC_PORT = 13000

_USERINFO = re.compile(r"(?<=://)(?P<user>[^\s:/@]*):(?P<password>[^\s]*)@(?=[^\s@]*)")
_SECRET_OPTION = re.compile(
    r"(?i)\b(?P<name>password|passwd|pwd|sslpassword|token|secret|signature|sig|"
    r"aws_secret_access_key|aws_session_token)=(?P<value>[^&\s'\",;]+)"
)


@dataclass(frozen=True)
class StorageUrl:
    """A checked URL. `driver` is what the driver gets, password included: never print it."""

    kind: Kind
    driver: str
    path: Path | None = None  # sqlite and journal
    host: str = ""  # grpc
    port: int = 0

    def __repr__(self) -> str:
        return f"StorageUrl({redact(self.driver)!r})"


def redact(text: str) -> str:
    """`text` with every password of a URL in it replaced by ***."""
    return _SECRET_OPTION.sub(r"\g<name>=***", _USERINFO.sub(r"\g<user>:***@", text))


def parse_url(url: str) -> StorageUrl:
    """Check `url` and spell it for its driver. Raises `UrlError` that names the rule, never the password."""
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        hint = f"; for a file write sqlite:///{url}" if url.endswith((".db", ".sqlite", ".sqlite3")) else ""
        raise UrlError(f"storage {redact(url)!r} is not a URL: use {FORMS}{hint}")
    kind = SCHEMES.get(scheme.lower())
    if kind is None:
        raise UrlError(f"storage {redact(url)!r} has scheme {scheme!r}: use {FORMS}")
    if kind in ("sqlite", "journal"):
        return _file_url(kind, rest, url)
    return _grpc_url(rest, url) if kind == "grpc" else _postgresql_url(rest, url)


def _file_url(kind: Kind, rest: str, url: str) -> StorageUrl:
    if kind == "sqlite":
        if not rest.startswith("/"):
            raise UrlError(f"storage {url!r} needs three slashes: sqlite:///FILE, or four for an absolute path")
        rest = rest[1:]
    name = unquote(rest.partition("?")[0])
    if not name or name == ":memory:":
        raise UrlError(f"storage {url!r} names no file: other processes could not see the study")
    if "{" in name or "}" in name:
        raise UrlError(f"storage {url!r} holds a brace, which Optuna would take for a template: rename the file")
    if "?" in rest:
        raise UrlError(f"storage {url!r} has options; {kind} takes none, it is tuned already")
    path = Path(name).expanduser()
    if path.is_dir():
        raise UrlError(f"storage {url!r} is a folder: name a file in it, such as {path / 'lobtuna.db'}")
    return StorageUrl(kind, f"sqlite:///{path}" if kind == "sqlite" else f"journal://{path}", path=path)


def _grpc_url(rest: str, url: str) -> StorageUrl:
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port or GRPC_PORT
    except ValueError as error:
        raise UrlError(f"storage {redact(url)!r}: {error}; use grpc://HOST:PORT") from None
    if not host or parts.username or parts.path.strip("/") or parts.query:
        raise UrlError(f"storage {redact(url)!r} must be grpc://HOST:PORT: the proxy knows the database")
    return StorageUrl("grpc", f"grpc://{host}:{port}", host=host, port=port)


def _postgresql_url(rest: str, url: str) -> StorageUrl:
    address, _, tail = rest.partition("/")
    if "@" not in address and "@" in tail:
        raise UrlError(f"storage {redact(url)!r}: a / in the password must be written %2F")
    userinfo, at, host = address.rpartition("@")
    user, colon, password = userinfo.partition(":")
    # Optuna formats the URL as a template and SQLAlchemy splits at the first @: both are spelled out here.
    escaped = "".join(quote(unquote(part), safe="") if part else "" for part in (user,)) + (
        f":{quote(unquote(password), safe='')}" if colon else ""
    )
    if "{" in host + tail or "}" in host + tail:
        raise UrlError(f"storage {redact(url)!r} holds a brace outside the password: remove it")
    database, _, options = tail.partition("?")
    if not database and "dbname=" not in options:
        raise UrlError(f"storage {redact(url)!r} names no database: end it in /NAME")
    return StorageUrl("postgresql", f"postgresql+psycopg://{escaped}{at}{host}/{tail}")
