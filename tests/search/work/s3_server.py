"""An S3 server whose line, answers and pace a test breaks, and what a worker's process needs to use it."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from storage.artifacts import bucket as bucket_module
from storage.artifacts import new_artifact_id
from tests.servers import TcpProxy

NAME = "bucket"
REFUSALS = ("500 Internal Server Error", "503 Slow Down", "403 Forbidden")
ATTEMPTS = 2  # of a worker's calls: with the usual eight, boto's own pauses would outlast every fault of a test


class Faulty:
    """An S3 server's answers, some of them late, refused or lost on their way."""

    def __init__(self) -> None:
        self.app: Callable[..., Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)
        self.refusal: str | None = None  # the status that every request is answered with
        self.delay = 0.0  # seconds before each answer
        self.lost = 0  # so many requests are carried out, and their answers lost

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """One request, as WSGI has it."""
        time.sleep(self.delay)
        if self.refusal is not None:
            start(self.refusal, [("Content-Type", "application/xml")])
            return [b"<Error><Code>Refused</Code><Message>a fault of the attack</Message></Error>"]
        answer = self.app(environ, start)
        if self.lost > 0:
            self.lost -= 1
            list(answer)
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer


class Bucket:
    """A bucket with other people's objects, behind a line that can be cut. Its environment is this process's too."""

    def __init__(self) -> None:
        prefix = uuid.uuid4().hex  # moto's servers share one memory
        self.url = f"s3://{NAME}/{prefix}"
        other, older = b"of another database", b"of an earlier version"
        self.foreign = {  # objects that are not the database's, by key
            f"{prefix}.tex": b"years of work",
            f"{prefix}/notes.txt": b"mine",
            f"{prefix}/{new_artifact_id(other, 'f' * 16)}": other,
            f"{prefix}/{new_artifact_id(older)}": older,
            f"{prefix}-old/{new_artifact_id(older)}": older,
        }
        self.faulty = Faulty()
        self._server = make_server("127.0.0.1", 0, self.faulty, threaded=True, request_handler=MotoRequestHandler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.line = TcpProxy(int(self._server.server_address[1]))
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.line.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        self._client = boto3.client("s3")
        self._client.create_bucket(Bucket=NAME)
        for key, body in self.foreign.items():
            self._client.put_object(Bucket=NAME, Key=key, Body=body)

    def assert_foreign_untouched(self) -> None:
        """Other people's objects are what they were."""
        found = {key: self._client.get_object(Bucket=NAME, Key=key)["Body"].read() for key in self.foreign}
        assert found == self.foreign

    @property
    def foreign_names(self) -> set[str]:
        """The names of other people's objects beside the study's artifacts."""
        return {key.partition("/")[2] for key in self.foreign if key.startswith(f"{self.url.rpartition('/')[2]}/")}

    def close(self) -> None:
        """Stop the server, and give this process its environment back."""
        self._server.shutdown()
        self.line.close()
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def use(environment: dict[str, str]) -> None:
    """In a worker's process: reach the bucket, and give a call up after `ATTEMPTS`."""
    os.environ.update(environment)
    bucket_module.ATTEMPTS = ATTEMPTS
