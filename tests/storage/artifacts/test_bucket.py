"""Promises of buckets: what is unreachable is one line, a missing package is named with its extra."""

import sys

import pytest

from storage.artifacts import open_artifacts, upload_bytes
from storage.errors import ArtifactError, ArtifactNotStored


def test_an_unreachable_bucket_is_one_line(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> None:
    """A bucket that does not exist is an expected failure with its name."""
    with pytest.raises(ArtifactNotStored, match="s3://absent"):
        upload_bytes(open_artifacts("s3://absent/p"), b"data")


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
