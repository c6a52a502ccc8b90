"""Promises of the proxy's server: taken ports are told, an outage of the database reaches the client as one."""

from collections.abc import Iterator

import optuna
import pytest

from storage.backends.grpc_server import make_server
from storage.backends.registry import open_store
from storage.errors import DatabaseUnavailable, StorageError
from storage.store import Store
from tests.servers import TcpProxy


@pytest.fixture
def line(postgres_server) -> Iterator[TcpProxy]:  # type: ignore[no-untyped-def]
    """The line between the proxy and its database."""
    line = TcpProxy(postgres_server.port)
    yield line
    line.close()


@pytest.fixture
def client(postgres_server, postgres_url: str, line: TcpProxy) -> Iterator[Store]:  # type: ignore[no-untyped-def]
    """A store behind a proxy whose database is behind `line`."""
    behind = open_store(postgres_url.replace(f":{postgres_server.port}/", f":{line.port}/"), patience=0.3)
    server, port = make_server(behind, "127.0.0.1", 0)
    server.start()
    yield open_store(f"grpc://127.0.0.1:{port}", patience=0.3)
    server.stop(None)


def test_an_outage_behind_the_proxy_is_an_outage(client: Store, line: TcpProxy) -> None:
    """Optuna's calls and the fleet's raise `DatabaseUnavailable` while the database is away, and work again after."""
    study = optuna.create_study(study_name="s", storage=client.storage)
    line.accepting = False
    line.cut()
    with pytest.raises(DatabaseUnavailable):
        client.fleet.now()
    with pytest.raises(DatabaseUnavailable):
        client.storage.get_all_studies()
    line.accepting = True
    client.storage.patience = 20.0  # type: ignore[attr-defined]
    study.tell(study.ask(), 1.0)
    assert client.fleet.now() > 0


def test_a_port_that_is_taken(postgres_url: str) -> None:
    """A second server on the same port is refused with the option that helps."""
    store = open_store(postgres_url)
    server, port = make_server(store, "127.0.0.1", 0)
    server.start()
    with pytest.raises(StorageError, match="choose another --port"):
        make_server(store, "127.0.0.1", port)
    server.stop(None)
