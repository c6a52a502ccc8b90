"""Promises of `storage.url`: no password is ever shown, and a file URL names one file."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import StorageError, UrlError
from storage.url import StorageUrl, file_of, redact, redact_url

SIGNS = " @:;,'\"&=?#%{}[]\\/+*\n\tö"
# Pieces of a password are recognised by an S or a P, which stand nowhere else in the texts of these tests.
PASSWORDS = st.text(SIGNS + "SP", max_size=12).map(lambda middle: f"S{middle}P")
USERS = st.text(SIGNS.replace(":", "") + "ux", max_size=8).map(lambda rest: f"u{rest}")
HEADS, TAILS = st.sampled_from(["", "cannot reach ", "see https://x/y, "]), st.sampled_from(["", ": no answer"])


def test_redaction_finds_passwords_inside_longer_texts() -> None:
    """Messages of drivers and options of URLs are covered, not only bare URLs."""
    text = "cannot reach postgresql://me:pw@7c1@host/db?sslpassword=pw7c1&x=1, or s3://b?aws_secret_access_key=pw7c1"
    assert "7c1" not in redact(text)
    assert redact("sqlite:///a.db") == "sqlite:///a.db"


@given(USERS, PASSWORDS, HEADS, TAILS)
def test_no_sign_in_a_user_or_a_password_ends_what_is_hidden(user: str, password: str, head: str, tail: str) -> None:
    """Spaces and unescaped signs, in a URL alone and in a line about it; what is hidden once stays as it is."""
    url = f"postgresql://{user}:{password}@host:5432/db"
    for shown in (redact_url(url), redact(url), redact(f"{head}{url}{tail}")):
        assert not set("SP") & set(shown)
        assert "***" in shown and redact(shown) == shown
    assert redact_url(url).endswith("***@host:5432/db")
    assert redact(f"{head}{url}{tail}").endswith(f"***@host:5432/db{tail}")


@given(USERS, PASSWORDS, st.sampled_from(["password", "sslpassword", "sig"]), st.booleans())
def test_no_sign_in_an_option_ends_what_is_hidden(user: str, password: str, option: str, first: bool) -> None:
    """A password among the options, before or after the user, whose name may hold an @."""
    secret, name = f"{option}={password}", f"user={user}"
    url = f"postgresql://host:5432/db?{f'{secret}&{name}' if first else f'{name}&{secret}'}"
    for shown in (redact_url(url), redact(url), redact(f"cannot reach {url}: no answer")):
        assert not set("SP") & set(shown)


@given(USERS, PASSWORDS)
def test_a_malformed_url_is_shown_without_its_password(user: str, password: str) -> None:
    """Too few slashes, too many, none: all that may be the password is hidden where the whole text is a URL."""
    for scheme in ("", "postgresql:", "postgresql:/", "postgresql:///", "postgresql:////", "mysql://"):
        assert not set("SP") & set(redact_url(f"{scheme}{user}:{password}@host/db"))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///lobtuna.db",
        "sqlite:////home/me@here/a:b@c.db",
        "journal://a:b.log",
        "grpc://host:13000",
        "postgresql://host:5432/db",
        "postgresql://me@host:5432/db",
        "postgresql://me@[::1]:5432/db?sslmode=require",
        "postgresql://[::1]/db",
        "postgresql://a:1,b:2/db",
        "postgresql://me@/db?host=a:5432&host=b:5432",
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    """Suggested commands name it, to be copied."""
    assert redact_url(url) == redact(url) == url


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
        with pytest.raises(StorageError, match=r"refuses this URL: .*(bogus|nooption)") as refused:
            open_store(f"{postgres_url}?{option}", patience=800.0)
        assert time.monotonic() - started < 400
        assert "s3cr3t" not in str(refused.value) and "\n" not in str(refused.value)
