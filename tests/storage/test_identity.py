"""Promises of a database's id: the same for everybody who asks, another for another database."""

import re
import threading
from pathlib import Path

import pytest

from storage.backends.grpc_server import make_server
from storage.backends.registry import open_store
from storage.identity import of_file


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql"])
def test_all_who_ask_at_once_get_one_id(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Six threads with stores of their own, before the id exists."""
    urls = {"sqlite": f"sqlite:///{tmp_path / 'a.db'}", "journal": f"journal://{tmp_path / 'a.log'}"}
    url = urls.get(kind) or request.getfixturevalue("postgres_url")
    stores, found = [open_store(url) for _ in range(6)], []
    threads = [threading.Thread(target=lambda store=store: found.append(store.identify())) for store in stores]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(set(found)) == 1
    assert re.fullmatch("[0-9a-f]{16}", found[0])
    assert open_store(url).identify() == found[0]


def test_databases_differ_and_a_proxy_has_the_id_of_its_database(tmp_path: Path) -> None:
    """What is behind the proxy counts."""
    one, other = (open_store(f"sqlite:///{tmp_path / name}") for name in ("a.db", "b.db"))
    assert one.identify() != other.identify()
    server, port = make_server(one, "127.0.0.1", 0)
    server.start()
    assert open_store(f"grpc://127.0.0.1:{port}").identify() == one.identify()
    server.stop(None)


def test_the_file_is_complete_from_its_first_moment(tmp_path: Path) -> None:
    """No reader finds an empty id, and nothing else is left in the folder."""
    assert of_file(tmp_path / "a.log") == (tmp_path / "a.log.id").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["a.log.id"]
