"""Checks every request to the dashboard: who may send it, what it may do, and what a browser may do with the answer.

optuna-dashboard has no authentication and deletes studies on request. This WSGI middleware adds the missing part: it
refuses writing unless asked otherwise, checks a password, rejects requests from other sites, and sets the headers that
keep a stored file (any worker may have written it) from running as a script.
"""

import base64
import binascii
import gzip
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
Headers = list[tuple[str, str]]

READING = frozenset({"GET", "HEAD", "OPTIONS"})
COMPRESS_FROM = 16_384  # bytes; below, a round trip costs more than the bytes
# What optuna-dashboard needs: its own bundle, styles set by script, images as data, and `eval` for WebGL plots.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# The application allows every site to read stored files, which is not needed.
DROPPED = frozenset({"access-control-allow-origin", "content-security-policy", *(name.lower() for name in HEADERS)})
START, START_SCRIPT = "/", "/start.js"  # the start page says by itself that the database does not answer
WRITING = "read-only: start `lobtuna dashboard --writable` to change studies"
DELETING = "read-only: `lobtuna delete NAME` deletes a study; or start `lobtuna dashboard --writable`"
AWAY = b"""<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="10">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>lobtuna: no answer</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 1em;color:#222}</style>
<h1>The database does not answer</h1><p>The studies are where they were; this page cannot reach them at the moment.
It tries again every ten seconds. The terminal in which <code>lobtuna dashboard</code> runs has the error.</p></html>
"""


@dataclass(frozen=True)
class Credentials:
    """One user and the SHA-256 of `user:password`; the password itself is not kept."""

    user: str
    digest: bytes

    @classmethod
    def of(cls, user: str, password: str) -> "Credentials":
        """The credentials of a user and a password in plain text."""
        return cls(user, hashlib.sha256(f"{user}:{password}".encode()).digest())

    def match(self, header: str) -> bool:
        """Whether an `Authorization` header carries them; the time taken does not depend on where it differs."""
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(hashlib.sha256(given).digest(), self.digest)


@dataclass(frozen=True)
class Rules:
    """`hosts`: the `Host` names answered to, without port; None answers to any (safe only with credentials)."""

    writable: bool = False
    credentials: Credentials | None = None
    hosts: frozenset[str] | None = None


class Guard:
    """WSGI application that passes on to `application` only what `rules` allow."""

    def __init__(self, application: Application, rules: Rules) -> None:
        self._application = application
        self._rules = rules

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal is not None:
            return _answer(start_response, *refusal)
        # The application reads this header without asking whether it is there.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        return self._pass_on(environ, start_response)

    def _refusal(self, environ: Environ) -> tuple[str, Any, Headers] | None:
        rules, method = self._rules, environ["REQUEST_METHOD"]
        host = environ.get("HTTP_HOST", "")
        if rules.hosts is not None and host_name(host) not in rules.hosts:
            # A name of another site that resolves to this machine (DNS rebinding) must not read the studies.
            return "403 Forbidden", f"this dashboard does not answer to the name {host!r}", []
        if rules.credentials is not None and not rules.credentials.match(environ.get("HTTP_AUTHORIZATION", "")):
            challenge = ("WWW-Authenticate", 'Basic realm="lobtuna", charset="UTF-8"')
            return "401 Unauthorized", "user and password, please", [challenge]
        if method in READING:
            return None
        if not rules.writable:
            return "403 Forbidden", DELETING if method == "DELETE" else WRITING, []
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(origin).netloc != host:
            return "403 Forbidden", f"a page of {origin} may not change studies here", []
        return None

    def _pass_on(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        answer: dict[str, Any] = {}

        def remember(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
            answer.update(status=status, headers=headers, exc_info=exc_info)
            return lambda _data: None

        body = self._application(environ, remember)
        status: str = answer["status"]
        headers = [(name, value) for name, value in answer["headers"] if name.lower() not in DROPPED]
        headers += [*HEADERS.items(), ("Content-Security-Policy", _policy(path))]
        if status.startswith("5") and path != START and not path.startswith(("/api", "/static")):
            _close(body)
            return _send(start_response, "503 Service Unavailable", _page(headers, AWAY), AWAY)
        if _compressible(environ, headers, path):
            data = drain(body)
            if len(data) >= COMPRESS_FROM:
                data = gzip.compress(data, compresslevel=1)
                headers.append(("Content-Encoding", "gzip"))
            headers = [item for item in headers if item[0].lower() != "content-length"]
            headers += [("Content-Length", str(len(data))), ("Vary", "Accept-Encoding")]
            return _send(start_response, status, headers, data)
        start_response(status, headers, answer["exc_info"])
        return body


def host_name(host: str) -> str:
    """The name in a `Host` header or address, lower case, without port or brackets."""
    return (urlsplit(f"//{host}").hostname or "").lower() if host else ""


def is_local(host: str) -> bool:
    """Whether only programs on this machine can reach `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _policy(path: str) -> str:
    return FILE_POLICY if path.startswith("/artifacts/") else PAGE_POLICY


def _compressible(environ: Environ, headers: Headers, path: str) -> bool:
    named = {name.lower(): value for name, value in headers}
    return (
        environ["REQUEST_METHOD"] == "GET"
        and "gzip" in environ["HTTP_ACCEPT_ENCODING"]
        and named.get("content-type", "").startswith("application/json")
        and "content-encoding" not in named
        and path.startswith("/api")
    )


def _page(headers: Headers, body: bytes) -> Headers:
    kept = [item for item in headers if item[0].lower() not in ("content-type", "content-length")]
    return [*kept, ("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]


def _answer(start_response: StartResponse, status: str, reason: str, headers: Headers) -> Iterable[bytes]:
    body = json.dumps({"reason": reason}).encode()
    described = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    policy = ("Content-Security-Policy", FILE_POLICY)
    return _send(start_response, status, [*described, *HEADERS.items(), policy, *headers], body)


def _send(start_response: StartResponse, status: str, headers: Headers, body: bytes) -> Iterable[bytes]:
    start_response(status, headers)
    return [body]


def drain(body: Iterable[bytes]) -> bytes:
    """All bytes of an answer, which is then closed."""
    try:
        return b"".join(body)
    finally:
        _close(body)


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
