"""Promises of the gRPC client: an absent proxy is one line, every call has a deadline, failures keep their kind."""

import socket
import time

import pytest
from optuna.storages import BaseStorage

import storage.backends.grpc
from storage.backends.grpc import RETRIED, ProxyStorage
from storage.backends.registry import open_store
from storage.errors import DatabaseUnavailable
from tests.servers import free_port


def test_an_absent_proxy_is_one_line() -> None:
    """Where nothing listens, opening ends after its patience and asks whether the proxy is running."""
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="is `lobtuna proxy` running there") as caught:
        open_store(f"grpc://127.0.0.1:{free_port()}", patience=0.5)
    assert time.monotonic() - started < 400.0
    assert "\n" not in str(caught.value)


def test_a_proxy_that_accepts_and_never_answers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends at its deadline where a server holds the connection without answering."""
    monkeypatch.setattr(storage.backends.grpc, "DEADLINE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(DatabaseUnavailable):
        open_store(f"grpc://127.0.0.1:{listener.getsockname()[1]}", patience=0.2)


def test_every_call_of_optunas_client_is_retried() -> None:
    """No method of Optuna's interface that asks the proxy is left without patience."""
    assert BaseStorage.__abstractmethods__ - {"create_new_trial"} <= set(RETRIED)  # that one is retried with its claim
    assert {*RETRIED, "create_new_trial"} <= set(vars(ProxyStorage))
