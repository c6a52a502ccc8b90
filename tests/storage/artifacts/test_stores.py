"""One contract over every artifact store: database, folder, S3 and Google buckets."""

import io
from pathlib import Path

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts import Artifacts, download, open_artifacts, upload_all, upload_bytes
from storage.artifacts.database import CHUNK, DatabaseArtifacts
from storage.backends.registry import open_store
from storage.errors import ArtifactError, UrlError


@pytest.fixture(params=["sqlite", "postgresql", "folder", "s3", "google"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    """An empty store of each kind."""
    kinds = {
        "sqlite": lambda: open_store(f"sqlite:///{tmp_path / 'study.db'}").artifacts,
        "postgresql": lambda: open_store(request.getfixturevalue("postgres_url")).artifacts,
        "folder": lambda: open_artifacts(str(tmp_path / "artifacts")),
        "s3": lambda: open_artifacts(request.getfixturevalue("s3_url")),
        "google": lambda: open_artifacts(request.getfixturevalue("google_url")),
    }
    return kinds[request.param]()


class TestEveryStore:
    """What checkpoints rely on, wherever they are kept."""

    @pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
    def test_bytes_come_back_as_they_went(self, store: Artifacts, size: int) -> None:
        """Any length, chunk borders included."""
        data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        assert download(store, upload_bytes(store, data)) == data

    def test_equal_bytes_are_separate_artifacts(self, store: Artifacts) -> None:
        """Removing one of two equal artifacts leaves the other."""
        first, second = upload_bytes(store, b"same"), upload_bytes(store, b"same")
        store.remove(first)
        assert download(store, second) == b"same"
        assert [entry.artifact_id for entry in store.entries()] == [second]

    def test_what_is_missing_is_an_error_with_a_next_step(self, store: Artifacts) -> None:
        """A removed artifact raises Optuna's error from the store and ours from `download`."""
        artifact_id = upload_bytes(store, b"data")
        store.remove(artifact_id)
        with pytest.raises(ArtifactNotFound):
            store.open_reader(artifact_id)
        with pytest.raises(ArtifactError, match="retention or gc"):
            download(store, artifact_id)

    def test_entries_tell_size_and_age(self, store: Artifacts) -> None:
        """Every artifact is listed with its bytes and its age in seconds."""
        ids = {upload_bytes(store, b"x" * size): size for size in (10, 20)}
        found = {entry.artifact_id: entry for entry in store.entries()}
        assert {name: entry.size for name, entry in found.items()} == ids
        assert all(-2 < entry.age < 600 for entry in found.values())

    def test_several_are_written_in_one_call(self, store: Artifacts) -> None:
        """Blobs stored together come back one by one, in the order of their ids."""
        blobs = [b"first", b"", b"third" * CHUNK]
        assert [download(store, artifact_id) for artifact_id in upload_all(store, blobs)] == blobs

    def test_other_bytes_under_the_id_are_noticed(self, store: Artifacts) -> None:
        """What another process wrote under an id is not taken for the artifact."""
        artifact_id = upload_bytes(store, b"right")
        if isinstance(store, DatabaseArtifacts):  # which keeps the bytes that an id has
            store.remove(artifact_id)
        store.write(artifact_id, io.BytesIO(b"wrong"))
        with pytest.raises(ArtifactError, match="is corrupt"):
            download(store, artifact_id)


@pytest.mark.parametrize("url", ["ftp://host/path", "s3://", "s3://key:secret@bucket/p"])
def test_odd_artifact_urls_are_refused(url: str) -> None:
    """The rule is named, a credential in the URL is not repeated."""
    with pytest.raises(UrlError) as caught:
        open_artifacts(url)
    assert "secret" not in str(caught.value)
