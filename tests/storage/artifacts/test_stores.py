"""One contract over every artifact store: database, folder, S3 and Google buckets."""

import io
import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts import artifacts_of, download, open_artifacts, upload, upload_bytes
from storage.artifacts.database import CHUNK
from storage.artifacts.entry import Listing
from storage.backends.database import open_storage
from storage.claims import Batch, Claim
from storage.errors import ArtifactError, ArtifactNotStored, UrlError
from storage.worker.background import BackgroundStorage


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


@pytest.fixture(params=["sqlite", "postgresql", "folder", "s3", "google"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Listing:
    """An empty store of each kind."""
    sqlite = f"sqlite:///{tmp_path / 'study.db'}"
    urls = {
        "sqlite": lambda: None,
        "postgresql": lambda: None,
        "folder": lambda: str(tmp_path / "artifacts"),
        "s3": lambda: request.getfixturevalue("s3_url"),
        "google": lambda: request.getfixturevalue("google_url"),
    }
    database = request.getfixturevalue("postgres_url") if request.param == "postgresql" else sqlite
    return open_artifacts(urls[request.param](), open_storage(database))


class TestEveryStore:
    """What checkpoints rely on, wherever they are kept."""

    @pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
    def test_bytes_come_back_as_they_went(self, store: Listing, size: int) -> None:
        """Any length, chunk borders included."""
        data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        assert download(store, upload_bytes(store, data)) == data

    def test_equal_bytes_are_separate_artifacts(self, store: Listing) -> None:
        """Removing one of two equal artifacts leaves the other."""
        first, second = upload_bytes(store, b"same"), upload_bytes(store, b"same")
        store.remove(first)
        assert download(store, second) == b"same"
        assert [entry.artifact_id for entry in store.entries()] == [second]

    def test_what_is_missing_is_an_error_with_a_next_step(self, store: Listing) -> None:
        """A removed artifact raises Optuna's error from the store and ours from `download`."""
        artifact_id = upload_bytes(store, b"data")
        store.remove(artifact_id)
        with pytest.raises(ArtifactNotFound):
            store.open_reader(artifact_id)
        with pytest.raises(ArtifactError, match="retention or gc"):
            download(store, artifact_id)

    def test_entries_tell_size_and_age(self, store: Listing) -> None:
        """Every artifact is listed with its bytes and its age in seconds."""
        ids = {upload_bytes(store, b"x" * size): size for size in (10, 20)}
        found = {entry.artifact_id: entry for entry in store.entries()}
        assert {name: entry.size for name, entry in found.items()} == ids
        assert all(-2 < entry.age < 60 for entry in found.values())

    def test_other_bytes_under_the_id_are_noticed(self, store: Listing) -> None:
        """What another process wrote under an id is not taken for the artifact."""
        artifact_id = upload_bytes(store, b"right")
        if type(store).__name__ == "DatabaseArtifacts":
            store.remove(artifact_id)
        store.write(artifact_id, io.BytesIO(b"wrong"))
        with pytest.raises(ArtifactError, match="is corrupt"):
            download(store, artifact_id)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=200))
def test_ids_are_what_every_store_and_the_dashboard_take(data: bytes, tmp_path: Path) -> None:
    """Ids consist of hexadecimal digits and dashes, whatever the bytes."""
    store = open_artifacts(str(tmp_path), None)  # type: ignore[arg-type]
    artifact_id = upload_bytes(store, data)
    assert set(artifact_id) <= set("0123456789abcdef-")
    assert download(store, artifact_id) == data


def test_the_bytes_are_there_before_anything_refers_to_them(tmp_path: Path) -> None:
    """When the store takes no bytes, no trial names an artifact."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=storage)
    own = BackgroundStorage(storage, study._study_id, Claim("host:1"))
    trial = optuna.Study(study.study_name, own).ask()

    class Refusing:
        def write(self, artifact_id: str, content_body: io.BytesIO) -> None:
            raise ArtifactNotStored("the bucket is gone")

    with pytest.raises(ArtifactNotStored):
        upload(Refusing(), trial, own, b"data", "a.bin")  # type: ignore[arg-type]
    own.end(Batch(state=optuna.trial.TrialState.FAIL))
    assert study.trials[0].system_attrs == {}


def test_a_folder_holds_whole_files_only(tmp_path: Path) -> None:
    """A write that fails half-way leaves no file; ids cannot leave the folder."""
    store = open_artifacts(str(tmp_path / "a"), None)  # type: ignore[arg-type]

    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactNotStored, match="No space left"):
        store.write("00000000-0000", Breaking(b"data"))
    assert list(store.entries()) == []
    with pytest.raises(ArtifactError, match="is none"):
        store.open_reader("../../etc/passwd")


def test_a_study_names_its_store(tmp_path: Path) -> None:
    """`artifacts_of` opens what the study's creator chose, and the database where nothing was."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=storage)
    assert type(artifacts_of(study)).__name__ == "DatabaseArtifacts"
    study.set_user_attr("artifacts", str(tmp_path / "elsewhere"))
    assert type(artifacts_of(study)).__name__ == "FolderArtifacts"


@pytest.mark.parametrize("url", ["ftp://host/path", "s3://", "s3://key:secret@bucket/p"])
def test_odd_artifact_urls_are_refused(url: str) -> None:
    """The rule is named, a credential in the URL is not repeated."""
    with pytest.raises(UrlError) as caught:
        open_artifacts(url, None)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_an_unreachable_bucket_is_one_line(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> None:
    """A bucket that does not exist is an expected failure with its name."""
    with pytest.raises(ArtifactNotStored, match="s3://absent"):
        upload_bytes(open_artifacts("s3://absent/p", None), b"data")  # type: ignore[arg-type]
