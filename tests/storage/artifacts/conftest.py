"""Buckets that need no cloud: an S3 server of our own, and Google's client before a stub of its server."""

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest


class GoogleStub(BaseHTTPRequestHandler):
    """The calls of Google's JSON API that a bucket of blobs needs, for its own client library."""

    blobs: dict[str, bytes] = {}  # noqa: RUF012  one server at a time

    def do_POST(self) -> None:
        """Multipart upload: a JSON part with the name, then the bytes."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = self.headers["Content-Type"].split("boundary=")[1].strip("'\"").encode()
        _, head, content, _ = body.split(b"--" + boundary, 3)
        name = json.loads(head.split(b"\r\n\r\n", 1)[1])["name"]
        self.blobs[name] = content.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        self._answer(self._resource(name))

    def do_GET(self) -> None:
        """Download a blob, or list those under a prefix."""
        url = urlsplit(self.path)
        if url.path.endswith("/o"):
            prefix = parse_qs(url.query).get("prefix", [""])[0]
            self._answer({"items": [self._resource(name) for name in self.blobs if name.startswith(prefix)]})
            return
        if "/o/" not in url.path:  # recent clients look at the bucket itself as well
            self._answer({"name": "bucket", "location": "US"})
            return
        name = unquote(url.path.split("/o/")[1])
        if name not in self.blobs:
            self._answer({"error": {"code": 404}}, 404)
        else:
            self._send(self.blobs[name], 200, "application/octet-stream")

    def do_DELETE(self) -> None:
        """Delete a blob."""
        found = self.blobs.pop(unquote(urlsplit(self.path).path.split("/o/")[1]), None)
        self._answer({}, 404 if found is None else 200)

    def _resource(self, name: str) -> dict[str, str]:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {"name": name, "bucket": "bucket", "size": str(len(self.blobs[name])), "updated": now}

    def _answer(self, document: object, status: int = 200) -> None:
        self._send(json.dumps(document).encode(), status, "application/json")

    def _send(self, body: bytes, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def s3_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on an S3 server of our own."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield f"s3://bucket/some/{uuid.uuid4().hex}"  # moto's servers share one memory
    server.stop()


@pytest.fixture
def google_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket behind Google's own client and a stub of its server."""
    GoogleStub.blobs = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), GoogleStub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "testing")
    yield "gs://bucket/some/prefix"
    server.shutdown()
