"""Promises of `storage.url`: no password is ever shown, and a file URL names one file."""

import time
from pathlib import Path

import pytest

from storage.errors import StorageError, UrlError
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


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:/u:s3cret@h/db",
        "u:s3cret@h/db",
        "postgresql://u:s3 cret s3cret@h/db",
        "postgresql://u:s3cret",
        "postgresql://u:s3cret/db",
        "postgresql://u:a@s3cret@h:notaport/db",
        "postgres:u:s3cret@h/db",
        "mysql://u:s3cret@h/db",
        "postgresql://h/db?password=s3cret",
        "grpc://u:s3cret@h:1",
        "postgresql://u:s3cret@h:notaport/db",
        "postgresql://u:s3cret@[::1/db",
        "postgresql://u:s3cret@h1:1,h2:2/db",
        "postgresql://u:s3cret@h",
        "postgresql://u:s3cret@h o/db",
    ],
)
def test_a_malformed_url_is_refused_at_once_without_its_password(url: str) -> None:
    """Whatever is wrong with it: one line, no part of the password, no minute of waiting."""
    from storage.backends.registry import open_store

    started = time.monotonic()
    with pytest.raises(StorageError) as refused:
        open_store(url, patience=800.0)
    assert "s3" not in str(refused.value) and "cret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert time.monotonic() - started < 400  # of imports; nothing is waited for


def test_what_the_driver_refuses_is_not_waited_for(postgres_url: str) -> None:
    """An SSL mode, or an option, that libpq does not know is told at once, without the password."""
    from storage.backends.registry import open_store

    for option in ("sslmode=bogus", "target_session_attrs=bogus", "nooption=1"):
        started = time.monotonic()
        with pytest.raises(StorageError, match=r"bogus|nooption") as refused:
            open_store(f"{postgres_url}?{option}", patience=800.0)
        assert time.monotonic() - started < 400
        assert "s3cr3t" not in str(refused.value) and "\n" not in str(refused.value)
