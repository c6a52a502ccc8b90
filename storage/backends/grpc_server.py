"""The gRPC proxy for large fleets: Optuna's own service, and beside it what workers need more.

Optuna's proxy has neither beats nor deadlines nor artifacts. A second service on the same port carries them as JSON
and bytes, and an outage of the database is answered as "not now", so that clients try again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.servicer import OptunaStorageProxyService

from storage.artifacts.entry import Listing
from storage.backends.grpc import OPTIONS, SERVICE, Code
from storage.claims import Batch, Claim
from storage.errors import ClaimLost, StorageError, Unavailable
from storage.fleet import Fleet

T = TypeVar("T")


def make_server(
    storage: BaseStorage, fleet: Fleet, artifacts: Listing, host: str, port: int, threads: int = 16
) -> tuple[grpc.Server, int]:
    """A server, not started, for Optuna's service and the fleet's, and the port it got (0 asks for any).

    Raises `StorageError` where the address is taken.
    """
    server = grpc.server(ThreadPoolExecutor(max_workers=threads), options=OPTIONS)
    api_pb2_grpc.add_StorageServiceServicer_to_server(_StudyService(storage), server)
    server.add_generic_rpc_handlers([_fleet_handlers(fleet, artifacts)])
    try:
        return server, server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise StorageError(f"cannot listen on {host}:{port}: {error}; choose another --port") from None


class _StudyService(OptunaStorageProxyService):
    """Optuna's service, which answers "not now" instead of an unknown error while the database is away."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return _answering(value) if name[0].isupper() else value


def _answering(method: Callable[[Any, grpc.ServicerContext], T]) -> Callable[[Any, grpc.ServicerContext], T]:
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


def _fleet_handlers(fleet: Fleet, artifacts: Listing) -> grpc.GenericRpcHandler:
    def claimed(request: dict[str, Any]) -> tuple[int, Claim]:
        claim = Claim.from_json(request["claim"])
        assert claim is not None
        return request["trial_id"], claim

    def beats(request: dict[str, Any]) -> list[int]:
        return fleet.unheard(request["study_id"], request["since"])

    def recover(request: dict[str, Any]) -> list[dict[str, Any]]:
        return [vars(found) for found in fleet.recover(request["study_id"], request["max_retries"])]

    calls: dict[str, Callable[[dict[str, Any]], Any]] = {
        "Claim": lambda r: fleet.claim(*claimed(r)),
        "Beat": lambda r: fleet.beat(*claimed(r)),
        "Seize": lambda r: fleet.seize(*claimed(r)),
        "Write": lambda r: fleet.write(*claimed(r), Batch.from_json(r["batch"])),
        "Recover": recover,
        "Unheard": beats,
        "Now": lambda r: fleet.now(),
        "Remove": lambda r: artifacts.remove(r["artifact_id"]),
        "Entries": lambda r: [vars(entry) for entry in artifacts.entries()],
    }
    handlers = {name: _json_handler(call) for name, call in calls.items()}
    handlers["Read"] = grpc.unary_unary_rpc_method_handler(
        _answering(lambda request, _: artifacts.open_reader(request.decode()).read())
    )
    handlers["Store"] = grpc.unary_unary_rpc_method_handler(_answering(lambda request, _: _store(artifacts, request)))
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _json_handler(call: Callable[[dict[str, Any]], Any]) -> grpc.RpcMethodHandler:
    def answer(request: bytes, _: grpc.ServicerContext) -> bytes:
        return json.dumps(call(json.loads(request))).encode()

    return grpc.unary_unary_rpc_method_handler(_answering(answer))


def _store(artifacts: Listing, request: bytes) -> bytes:
    artifact_id, _, body = request.partition(b"\n")
    artifacts.write(artifact_id.decode(), io.BytesIO(body))
    return b""
