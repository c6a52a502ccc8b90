"""Promises of the registry: which URLs are accepted, how they are spelled, what is refused and with which words."""

import sys
from pathlib import Path
from types import ModuleType

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from sqlalchemy.engine import make_url

from storage.artifacts import download, open_artifacts, upload_bytes
from storage.backends import registry
from storage.backends.backend import Backend, Connections
from storage.backends.plain_fleet import PlainFleet
from storage.backends.registry import FORMS, KINDS, Kind, backend_of, open_store, parse_url
from storage.errors import StorageError, UrlError
from storage.store import Store, StoreStorage, artifacts_of, store_of
from storage.url import StorageUrl


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgres://me:pw@host:5432/db", "postgresql+psycopg://me:pw@host:5432/db"),
        ("postgresql://me:pw@host/db?sslmode=require", "postgresql+psycopg://me:pw@host/db?sslmode=require"),
        ("postgresql:///db?host=/run/postgresql", "postgresql+psycopg:///db?host=/run/postgresql"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("sqlite:////data/study.db", "sqlite:////data/study.db"),
        ("grpc://proxy", "grpc://proxy:13000"),
        ("grpc://[::1]:1300", "grpc://::1:1300"),
        ("journal://study.log", "journal://study.log"),
    ],
)
def test_every_accepted_form_has_one_spelling_for_its_driver(url: str, driver: str) -> None:
    """The forms of the design are accepted and name their driver."""
    assert parse_url(url).driver == driver


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("lobtuna.db", "sqlite:///lobtuna.db"),
        ("sqlite://lobtuna.db", "three slashes"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a{b}.db", "brace"),
        ("sqlite:///a.db?mode=ro", "options"),
        ("mysql://me:pw-7c1@host/db", "scheme 'mysql'"),
        ("postgresql://me:pw-7c1@host", "names no database"),
        ("postgresql://me:pw-7c1/x@host/db", "%2F"),
        ("postgresql://me:p@w/pw-7c1@host/db", "%2F"),
        ("me:pw-7c1@h://host/db", "has scheme 'me:***@h'"),
        ("me:pw-7c1@host/study.db", "for a file write"),
        ("sqlite://me:pw-7c1@host/db", "three slashes"),
        ("postgresql://me:pw-7c1@host/d{b}", "brace outside the password"),
        ("grpc://me:pw-7c1@host:1", "grpc://HOST:PORT"),
        ("grpc://host:port", "grpc://HOST:PORT"),
        ("", "not a URL"),
    ],
)
def test_an_odd_url_is_refused_with_the_rule_it_breaks(url: str, rule: str) -> None:
    """Refusals name the rule and never the password."""
    with pytest.raises(UrlError) as caught:
        parse_url(url)
    assert rule in str(caught.value)
    assert "pw-7c1" not in str(caught.value)


def test_a_folder_is_no_database(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A folder is refused with the name of a file in it."""
    with pytest.raises(UrlError, match=r"lobtuna\.db"):
        parse_url(f"sqlite:///{tmp_path}")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/%"), min_size=1))
def test_any_password_reaches_the_driver_and_nobody_else(password: str) -> None:
    """Signs that Optuna would format and SQLAlchemy would split at arrive as they are; `repr` hides them."""
    parsed = parse_url(f"postgresql://me:{password}@host/db")
    assert make_url(parsed.driver).password == password
    assert "{" not in parsed.driver
    assert repr(parsed) == "StorageUrl('postgresql+psycopg://me:***@host/db')"


def test_every_kind_is_complete() -> None:
    """Each registered scheme has a module whose backend reads the form that messages recommend."""
    for kind in KINDS:
        assert kind.form in FORMS
        for scheme in kind.schemes:
            example = kind.form.replace("PORT", "1300").replace(kind.schemes[0], scheme, 1)
            assert backend_of(example).parse(example.partition("://")[2], example) == parse_url(example)


def test_schemes_are_registered_once() -> None:
    """No two kinds of database claim one scheme."""
    schemes = [scheme for kind in KINDS for scheme in kind.schemes]
    assert len(schemes) == len(set(schemes))


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without grpcio a grpc URL says what to install."""
    monkeypatch.delitem(sys.modules, "storage.backends.grpc", raising=False)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(StorageError, match=r"grpc://HOST:PORT needs grpc: pip install 'lobtuna\[grpc\]'"):
        open_store("grpc://127.0.0.1:1")


def test_a_new_kind_is_one_module_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with a `BACKEND` and a line in `KINDS` make a database that a study can live in."""

    class Memory(StoreStorage, InMemoryStorage):
        pass

    def open_memory(url: StorageUrl, *, patience: float, opening: float, connections: Connections) -> Store:
        storage = Memory()
        return Store(storage, PlainFleet(storage), open_artifacts(url.driver), lambda: "0" * 16)

    module = ModuleType("storage.backends.memory")
    module.BACKEND = Backend(lambda rest, url: StorageUrl(rest), open_memory)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(UrlError, match="scheme 'memory'"):
        open_store("memory://artifacts")
    monkeypatch.setattr(registry, "KINDS", (*KINDS, Kind(("memory",), "memory", "memory://FOLDER")))
    store = open_store(f"memory://{tmp_path / 'artifacts'}")
    study = optuna.create_study(storage=store.storage)
    study.tell(study.ask(), 1.0)
    assert store_of(study) is store
    assert download(artifacts_of(study), upload_bytes(store.artifacts, b"data")) == b"data"
