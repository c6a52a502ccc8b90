"""The guard in front of the dashboard: what it refuses, what it lets through, and what it adds."""

import base64
import gzip
import json
from collections.abc import Iterable
from typing import Any

import pytest

from storage.dashboard.guard import COMPRESS_FROM, Credentials, Guard, Rules, host_name, is_local


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers by path: JSON, a stored file, a crash."""
    path = environ["PATH_INFO"]
    if path == "/crash":
        start_response("500 Internal Server Error", [("Content-Type", "text/html")])
        return [b"Traceback"]
    kind = "text/html" if path.startswith("/artifacts") else "application/json"
    start_response("200 OK", [("Content-Type", kind), ("Access-Control-Allow-Origin", "*"), ("X-Method", "seen")])
    return [json.dumps({"accept": environ["HTTP_ACCEPT_ENCODING"], "fill": "x" * COMPRESS_FROM}).encode()]


def ask(rules: Rules, path: str = "/api/studies", method: str = "GET", **headers: str) -> tuple[int, dict, bytes]:
    answer: dict[str, Any] = {}

    def start_response(status: str, found: list[tuple[str, str]], exc_info: Any = None) -> None:
        answer.update(status=int(status.split()[0]), headers={name.lower(): value for name, value in found})

    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": "localhost:8080"}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    body = b"".join(Guard(application, rules)(environ, start_response))
    return answer["status"], answer["headers"], body


def basic(words: str) -> str:
    return "Basic " + base64.b64encode(words.encode()).decode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "delete"])
def test_nothing_but_reading(method: str) -> None:
    """Read-only, every method that could change something is answered 403 and does not reach the application."""
    status, headers, body = ask(Rules(), method=method)
    assert status == 403
    assert "x-method" not in headers
    assert "--writable" in json.loads(body)["reason"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_passes(method: str) -> None:
    """Read-only, what only reads passes."""
    assert ask(Rules(), method=method)[0] == 200


def test_writable_serves_its_own_pages_only() -> None:
    """Writable, a request from this dashboard's own page passes; one that another site's page sends does not."""
    assert ask(Rules(writable=True), method="DELETE", origin="http://localhost:8080")[0] == 200
    for origin in ("https://evil.example", "http://localhost:9999", "null"):
        assert ask(Rules(writable=True), method="DELETE", origin=origin)[0] == 403


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (basic("quant:a long password"), 200),
        (basic("quant:a long passwor"), 401),
        (basic("other:a long password"), 401),
        (basic("quant"), 401),
        ("Basic %%%", 401),
        ("Basic pässword", 401),
        ("Bearer abc", 401),
        ("", 401),
    ],
)
def test_password(header: str, status: int) -> None:
    """Only the exact user and password pass; everything else is asked for them, whatever the method."""
    rules = Rules(credentials=Credentials.of("quant", "a long password"))
    assert ask(rules, authorization=header)[0] == status
    if status == 401:
        found = ask(rules, method="DELETE", authorization=header)
        assert found[0] == 401
        assert found[1]["www-authenticate"].startswith("Basic ")


def test_another_name_for_this_machine_is_refused() -> None:
    """A site whose name resolves to this machine cannot read a dashboard that trusts the machine alone."""
    rules = Rules(hosts=frozenset({"localhost", "127.0.0.1"}))
    assert ask(rules)[0] == 200
    assert ask(rules, host="127.0.0.1:8080")[0] == 200
    assert ask(rules, host="evil.example:8080")[0] == 403
    assert ask(rules, host="")[0] == 403


def test_every_answer_carries_the_headers() -> None:
    """Pages, files, refusals and errors alike tell the browser to run nothing foreign and to be framed by nobody."""
    for path, method in (("/api/studies", "GET"), ("/artifacts/1/ab", "GET"), ("/api/x", "DELETE"), ("/crash", "GET")):
        headers = ask(Rules(), path, method)[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_a_stored_file_cannot_run() -> None:
    """A file that some worker uploaded is shown in a sandbox, whatever type it claims to be."""
    policy = ask(Rules(), "/artifacts/1/2/ab-cd")[1]["content-security-policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy


def test_large_answers_are_compressed_where_the_browser_can() -> None:
    """JSON of thousands of trials travels compressed; a client that cannot read that gets it plain."""
    _, headers, body = ask(Rules(), accept_encoding="gzip, br")
    assert headers["content-encoding"] == "gzip"
    assert int(headers["content-length"]) == len(body)
    assert json.loads(gzip.decompress(body))["accept"] == "gzip, br"
    _, headers, body = ask(Rules())
    assert "content-encoding" not in headers
    assert json.loads(body)["accept"] == ""  # the header is there for the application, though nobody sent it


def test_a_crash_is_a_page_not_a_traceback() -> None:
    """While the database is away a page says so, tries again, and shows no internals."""
    status, headers, body = ask(Rules(), "/crash")
    assert status == 503
    assert headers["content-type"].startswith("text/html")
    assert b"does not answer" in body
    assert b"Traceback" not in body


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("192.168.1.4", False),
        ("::", False),
        ("example.com", False),
        ("localhost.evil.example", False),
    ],
)
def test_local(host: str, local: bool) -> None:
    """Only loopback counts as this machine."""
    assert is_local(host) is local


def test_host_name() -> None:
    """The name in a Host header, with and without port, IPv6 included."""
    assert [host_name(h) for h in ("LocalHost:8080", "[::1]:8080", "a.b", "")] == ["localhost", "::1", "a.b", ""]
