"""Promises of buckets: what is unreachable, refused or broken off is one line that is tried again; a missing package
is named with its extra."""

import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from storage.artifacts import Artifacts, open_artifacts, upload_bytes
from storage.errors import ArtifactError, ArtifactNotStored


def test_an_unreachable_bucket_is_one_line(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> None:
    """A bucket that does not exist is an expected failure with its name."""
    with pytest.raises(ArtifactNotStored, match="s3://absent"):
        upload_bytes(open_artifacts("s3://absent/p"), b"data")


class Breaking(BaseHTTPRequestHandler):
    """A server of buckets that refuses every request, or breaks off in the middle of what it sends."""

    refuses = True

    def do_GET(self) -> None:
        """Refuse, or send a part of the object."""
        self.send_response(403 if self.refuses else 200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"ten bytes." * (100 if self.refuses else 1))

    do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def breaking_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`Breaking` as the server of both kinds of bucket."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORAGE_EMULATOR_HOST": address,
        "GOOGLE_CLOUD_PROJECT": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    server.shutdown()


CALLS: list[Callable[[Artifacts], object]] = [
    lambda store: upload_bytes(store, b"data"),
    lambda store: store.open_reader("00ff00ff"),
    lambda store: store.remove("00ff00ff"),
    lambda store: list(store.entries()),
]


@pytest.mark.usefixtures("breaking_server")
@pytest.mark.parametrize("scheme", ["s3", "gs"])
@pytest.mark.parametrize("call", CALLS, ids=["write", "read", "remove", "list"])
def test_a_bucket_that_refuses_a_call_is_tried_again(call: Callable[[Artifacts], object], scheme: str) -> None:
    """Credentials may have run out: whatever was asked, it is an outage, and no bug of the trial."""
    with pytest.raises(ArtifactNotStored, match="://bucket"):
        call(open_artifacts(f"{scheme}://bucket/some/prefix"))


@pytest.mark.usefixtures("breaking_server")
def test_a_download_that_breaks_off_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line breaks in the middle of an artifact: that is an outage as well."""
    monkeypatch.setattr(Breaking, "refuses", False)
    with pytest.raises(ArtifactNotStored, match="s3://bucket"):
        open_artifacts("s3://bucket/some/prefix").open_reader("00ff00ff")


@pytest.mark.parametrize(
    ("url", "module", "extra"), [("s3://b/p", "boto3", "s3"), ("gs://b/p", "google.auth.exceptions", "gs")]
)
def test_a_package_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
) -> None:
    """The error says which extra of lobtuna to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ArtifactError, match=rf"pip install 'lobtuna\[{extra}\]'"):
        open_artifacts(url)
