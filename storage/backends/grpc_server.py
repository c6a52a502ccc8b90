"""The gRPC proxy for large fleets: Optuna's own service, and beside it what workers need more.

Optuna's proxy has neither beats nor deadlines nor artifacts. A second service on the same port carries them as JSON
and bytes. While the database cannot be reached both services answer UNAVAILABLE, so that clients try again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts.entry import Artifacts
from storage.backends import grpc_changes
from storage.backends.grpc import OPTIONS, SERVICE, Code
from storage.claims import Batch, Claim
from storage.contact import Contact
from storage.errors import ClaimLost, StorageError, Unavailable
from storage.optuna_internals import add_study_service
from storage.store import Store

T = TypeVar("T")

# By default a second server on Linux would share the port, and half of the calls would reach the wrong database.
SERVER_OPTIONS = [*OPTIONS, ("grpc.so_reuseport", 0)]


def make_server(store: Store, host: str, port: int, threads: int = 16) -> tuple[grpc.Server, int]:
    """A server, not started, for Optuna's service and the fleet's, and the port it got (0 asks for any).

    Raises `StorageError` where the address is taken.
    """
    server = grpc.server(ThreadPoolExecutor(max_workers=threads), options=SERVER_OPTIONS)
    add_study_service(server, store.storage, _answering)
    server.add_generic_rpc_handlers([_fleet_handlers(store)])
    try:
        return server, server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:  # its text only names the variable that turns on gRPC's log
        raise StorageError(
            f"cannot listen on {host}:{port}: the port is taken, or the address is not this machine's; choose another "
            "--port or --host"
        ) from None


def _answering(method: Callable[[Any, grpc.ServicerContext], T]) -> Callable[[Any, grpc.ServicerContext], T]:
    """`method`, answering expected failures with status codes that the client turns back into exceptions."""

    def answer(request: Any, context: grpc.ServicerContext) -> T:
        try:
            return method(request, context)
        except Unavailable as error:
            context.abort(Code.UNAVAILABLE, str(error))
        except ClaimLost as error:
            context.abort(Code.ABORTED, str(error))
        except ArtifactNotFound as error:
            context.abort(Code.NOT_FOUND, str(error))
        raise AssertionError("abort raises")

    return answer


def _fleet_handlers(store: Store) -> grpc.GenericRpcHandler:
    artifacts = store.artifacts
    handlers = {name: _json_handler(call) for name, call in _json_calls(store).items()}
    handlers["Read"] = grpc.unary_unary_rpc_method_handler(
        _answering(lambda request, _: artifacts.open_reader(request.decode()).read())
    )
    handlers["Store"] = grpc.unary_unary_rpc_method_handler(_answering(lambda request, _: _store(artifacts, request)))
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _json_calls(store: Store) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """The calls that travel as JSON: by name, a function from the request's fields to the answer."""
    fleet, artifacts = store.fleet, store.artifacts
    return {
        "Claim": lambda r: fleet.claim(*_claimed(r)),
        "Beat": lambda r: fleet.beat(*_claimed(r)),
        "Seize": lambda r: fleet.seize(*_claimed(r)),
        "Write": lambda r: fleet.write(*_claimed(r), Batch.from_json(r["batch"])),
        "Recover": lambda r: [vars(found) for found in fleet.recover(r["study_id"], r["max_retries"], _contact(r))],
        "Unheard": lambda r: fleet.unheard(r["study_id"], r["since"]),
        "Redefine": lambda r: fleet.redefine(r["study_id"], r["name"], r["old"], r["attributes"]),
        "Now": lambda r: fleet.now(),
        "Identity": lambda r: store.identify(),
        "Changes": lambda r: grpc_changes.answer(store.engine, r),
        "Remove": lambda r: artifacts.remove(r["artifact_id"]),
        "Entries": lambda r: [vars(entry) for entry in artifacts.entries()],
    }


def _claimed(request: dict[str, Any]) -> tuple[int, Claim]:
    claim = Claim.from_json(request["claim"])
    assert claim is not None
    return request["trial_id"], claim


def _contact(request: dict[str, Any]) -> Contact | None:
    """The caller's contact with this proxy; clients of earlier versions do not send it."""
    return Contact(request["connected"]) if "connected" in request else None


def _json_handler(call: Callable[[dict[str, Any]], Any]) -> grpc.RpcMethodHandler:
    def answer(request: bytes, _: grpc.ServicerContext) -> bytes:
        return json.dumps(call(json.loads(request))).encode()

    return grpc.unary_unary_rpc_method_handler(_answering(answer))


def _store(artifacts: Artifacts, request: bytes) -> bytes:
    artifact_id, _, body = request.partition(b"\n")
    artifacts.write(artifact_id.decode(), io.BytesIO(body))
    return b""
