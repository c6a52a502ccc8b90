"""Promises of `storage.url`: no password is ever shown, and a file URL names one file."""

from pathlib import Path

import pytest

from storage.errors import UrlError
from storage.url import StorageUrl, file_of, redact


def test_redaction_finds_passwords_inside_longer_texts() -> None:
    """Messages of drivers and options of URLs are covered, not only bare URLs."""
    text = "cannot reach postgresql://me:pw@7c1@host/db?sslpassword=pw7c1&x=1, or s3://b?aws_secret_access_key=pw7c1"
    assert "7c1" not in redact(text)
    assert redact("sqlite:///a.db") == "sqlite:///a.db"


def test_a_url_does_not_show_its_password() -> None:
    """Neither `repr` nor an f-string of a checked URL holds the password."""
    url = StorageUrl("postgresql+psycopg://me:pw-7c1@host/db")
    assert "pw-7c1" not in f"{url!r} {url}"


def test_a_file_name_may_be_escaped(tmp_path: Path) -> None:
    """Percent signs are decoded, and a name without a file is refused."""
    assert file_of("sqlite", f"{tmp_path}/my%20study.db", "") == tmp_path / "my study.db"
    with pytest.raises(UrlError, match="names no file"):
        file_of("journal", "", "journal://")
