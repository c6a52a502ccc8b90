"""A storage behind `lobtuna proxy`: Optuna's gRPC client with deadlines and patience, and the calls of a fleet."""

from __future__ import annotations

import copy
import io
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import grpc
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial

from storage.artifacts.entry import Artifacts, Entry
from storage.backends.backend import Backend, Connections
from storage.backends.grpc_changes import known_as_json, trials_of
from storage.claims import CLAIM, Batch, Claim
from storage.contact import Contact
from storage.errors import ClaimLost, DatabaseUnavailable, StorageError, UrlError
from storage.fleet import Fleet, Recovered
from storage.optuna_internals import OptunaProxy
from storage.retry import FIRST_WAIT, LONGEST_WAIT
from storage.store import Store, StoreStorage
from storage.url import StorageUrl, redact_url
from storage.wanted import ENDED_ALONE, WantedReports

T = TypeVar("T")

SERVICE = "lobtuna.Fleet"
DEFAULT_PORT = 13000
DEADLINE = 30.0  # seconds that one call may take; without it a call to a dead proxy would never return
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]
Code = grpc.StatusCode
TRANSIENT = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


class _Details(grpc.ClientCallDetails):
    def __init__(self, details: Any, timeout: float) -> None:
        self.method, self.metadata, self.credentials = details.method, details.metadata, details.credentials
        self.wait_for_ready, self.compression = details.wait_for_ready, details.compression
        self.timeout = details.timeout or timeout


class _Deadlines(grpc.UnaryUnaryClientInterceptor):
    """Gives every call of Optuna's stub a deadline."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_Details(details, DEADLINE), request)


class ProxyStorage(StoreStorage, OptunaProxy):
    """Optuna's client with deadlines and patience, and the fleet's calls beside it."""

    def __init__(self, host: str, port: int, patience: float) -> None:
        self.patience = patience
        self.contact = Contact()
        with warnings.catch_warnings():  # experimental in name, and since 4.2
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(host=host, port=port)

    def open_channel(self) -> grpc.Channel:
        """A channel that gives every call a deadline."""
        return grpc.intercept_channel(grpc.insecure_channel(self.address, options=OPTIONS), _Deadlines())

    def call(self, method: str, request: bytes) -> bytes:
        """One call of the fleet's service. Raises `DatabaseUnavailable`, `ClaimLost` or `ArtifactNotFound`."""
        stub = self.channel.unary_unary(f"/{SERVICE}/{method}")
        return self.retry(lambda: stub(request))

    def ask(self, method: str, **request: Any) -> Any:
        """One call in JSON."""
        return json.loads(self.call(method, json.dumps(request).encode()))

    def retry(self, call: Callable[[], T]) -> T:
        """Run `call`; repeat it while the proxy or its database cannot be reached, for at most `patience` seconds."""
        end, wait = time.monotonic() + self.patience, FIRST_WAIT
        while True:
            try:
                answer = call()
                self.contact.answered()
                return answer
            except grpc.RpcError as error:
                if error.code() in TRANSIENT:
                    self.contact.failed()
                left = end - time.monotonic()
                if error.code() not in TRANSIENT or left <= 0:
                    raise _expected(error, f"grpc://{self.address}") from error
                time.sleep(min(wait, left))
                wait = min(wait * 2, LONGEST_WAIT)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        sent = 0

        def create() -> int:
            nonlocal sent, template_trial
            sent += 1
            if sent == 2 and template_trial is not None and CLAIM in template_trial.system_attrs:
                template_trial = copy.deepcopy(template_trial)
                template_trial.system_attrs[CLAIM]["again"] = True  # the first call may have succeeded
            return OptunaProxy.create_new_trial(self, study_id, template_trial)

        return self.retry(create)


RETRIED = (
    "create_new_study",
    "delete_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial_id_from_study_id_trial_number",
    "get_trial",
    "get_all_trials",
)


def _retried(name: str) -> Callable[..., Any]:
    original = getattr(OptunaProxy, name)

    def method(self: ProxyStorage, *args: Any, **kwargs: Any) -> Any:
        return self.retry(lambda: original(self, *args, **kwargs))

    method.__name__, method.__doc__ = name, original.__doc__
    return method


for _name in RETRIED:
    setattr(ProxyStorage, _name, _retried(_name))


class ProxyFleet(Fleet):
    """`Fleet` through the proxy."""

    shares_clock = True  # the clock of the database behind the proxy

    def __init__(self, storage: ProxyStorage) -> None:
        self.storage = storage

    def claim(self, trial_id: int, claim: Claim) -> bool:
        return bool(self.storage.ask("Claim", trial_id=trial_id, claim=claim.to_json()))

    def beat(self, trial_id: int, claim: Claim) -> bool:
        return bool(self.storage.ask("Beat", trial_id=trial_id, claim=claim.to_json()))

    def seize(self, trial_id: int, claim: Claim) -> None:
        self.storage.ask("Seize", trial_id=trial_id, claim=claim.to_json())

    def write(self, trial_id: int, claim: Claim, batch: Batch) -> None:
        self.storage.ask("Write", trial_id=trial_id, claim=claim.to_json(), batch=batch.to_json())

    def recover(self, study_id: int, max_retries: int, through: Contact | None = None) -> list[Recovered]:
        # The proxy checks its own contact with the database; this process's contact with the proxy counts as well.
        connected = (through or self.storage.contact).ages()
        found = self.storage.ask("Recover", study_id=study_id, max_retries=max_retries, connected=connected)
        return [Recovered(**recovered) for recovered in found]

    def unheard(self, study_id: int, since: float) -> list[int]:
        numbers: list[int] = self.storage.ask("Unheard", study_id=study_id, since=since)
        return numbers

    def redefine(self, study_id: int, name: str, old: Any, attributes: Mapping[str, Any]) -> bool:
        terms = {"study_id": study_id, "name": name, "old": old, "attributes": dict(attributes)}
        return bool(self.storage.ask("Redefine", **terms))

    def now(self) -> float:
        return float(self.storage.ask("Now"))

    def ask_changes(
        self,
        study_id: int,
        known: Mapping[int, FrozenTrial],
        attributes: Sequence[str],
        *,
        newest: int,
        running: bool,
        wanted: WantedReports = ENDED_ALONE,
    ) -> dict[int, FrozenTrial] | None:
        """The trials that differ from `known`; see `storage.store.AskChanges`."""
        terms = {"newest": newest, "running": running, "attributes": list(attributes), **wanted.to_json()}
        found = self.storage.ask("Changes", study_id=study_id, known=known_as_json(known, newest), **terms)
        return trials_of(found, known, study_id)


class ProxyArtifacts(Artifacts):
    """Optuna's artifact protocol through the proxy, into the database behind it."""

    def __init__(self, storage: ProxyStorage) -> None:
        self.storage = storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes. Raises `ArtifactNotFound`."""
        return io.BytesIO(self.storage.call("Read", artifact_id.encode()))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store all bytes or nothing."""
        self.storage.call("Store", artifact_id.encode() + b"\n" + content_body.read())

    def remove(self, artifact_id: str) -> None:
        """Delete the artifact. Raises `ArtifactNotFound`."""
        self.storage.ask("Remove", artifact_id=artifact_id)

    def entries(self) -> Iterator[Entry]:
        """Every stored artifact."""
        yield from (Entry(**entry) for entry in self.storage.ask("Entries"))


def _expected(error: grpc.RpcError, where: str) -> Exception:
    code, text = error.code(), error.details() or ""
    if code in TRANSIENT:
        return DatabaseUnavailable(f"{where} does not answer: {text}; is `lobtuna proxy` running there?")
    if code == Code.ABORTED:
        return ClaimLost(text)
    if code == Code.NOT_FOUND:
        return ArtifactNotFound(text)
    if code == Code.UNIMPLEMENTED:
        return StorageError(f"{where} is not a proxy of this lobtuna: start one with lobtuna proxy")
    return StorageError(f"{where}: {code.name.lower()}: {text}")


def parse(rest: str, url: str) -> StorageUrl:
    """Read `grpc://HOST:PORT`. Raises `UrlError`."""
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as error:
        raise UrlError(f"storage {redact_url(url)!r}: {error}; use grpc://HOST:PORT") from None
    if not host or parts.username or parts.path.strip("/") or parts.query:
        raise UrlError(f"storage {redact_url(url)!r} must be grpc://HOST:PORT: the proxy knows the database")
    return StorageUrl(f"grpc://{host}:{port}", host=host, port=port)


def open_proxy(url: StorageUrl, *, patience: float, opening: float, connections: Connections) -> Store:
    """Connect to a proxy. Raises `DatabaseUnavailable` where none answers within `opening` seconds."""
    storage = ProxyStorage(url.host, url.port, opening)
    storage.ask("Now")
    storage.patience = patience
    fleet, artifacts = ProxyFleet(storage), ProxyArtifacts(storage)
    identify = lambda: str(storage.ask("Identity"))  # noqa: E731
    return Store(storage, fleet, artifacts, identify, ask_changes=fleet.ask_changes)


BACKEND = Backend(parse, open_proxy)
