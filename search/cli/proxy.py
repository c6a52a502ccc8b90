"""`lobtuna proxy`: one process near the database that a large fleet talks to."""

from __future__ import annotations

from typing import Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, StorageOption, stderr


def register(app: typer.Typer) -> None:
    """Add the `proxy` command."""
    epilog = "Example:  lobtuna proxy --storage postgresql://me@localhost/db --port 13000"
    app.command("proxy", epilog=epilog)(proxy)


def proxy(
    storage: StorageOption = DEFAULT_STORAGE,
    host: Annotated[
        str, typer.Option(help="Address to listen on. There is no password: 0.0.0.0 only inside a private network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one and prints it.")] = 13000,
    threads: Annotated[int, typer.Option(min=1, help="Calls answered at the same time.")] = 16,
) -> None:
    """Serve studies, beats and artifacts of --storage over gRPC until a signal. Workers use grpc://HOST:PORT."""
    from search.work.stopping import Stop
    from storage.artifacts import open_artifacts
    from storage.backends.database import database_backend, open_storage
    from storage.errors import StorageError
    from storage.fleet import fleet_of
    from storage.url import parse_url, redact

    try:
        from storage.backends.grpc_server import make_server
    except ImportError:
        raise StorageError("lobtuna proxy needs grpcio: pip install 'lobtuna[grpc]'") from None

    if parse_url(storage).kind not in ("sqlite", "postgresql"):
        raise StorageError(f"{redact(storage)}: a proxy stands before a database, sqlite:/// or postgresql://")
    opened = open_storage(storage)
    backend = database_backend(opened)
    assert backend is not None
    backend.patience = 5.0  # clients are patient themselves; a call that waits here would hold a thread
    server, bound = make_server(opened, fleet_of(opened), open_artifacts(None, opened), host, port, threads)
    stop = Stop()
    with stop.on_signals():
        server.start()
        stderr.print(f"serving {redact(storage)} at grpc://{host}:{bound}", markup=False, soft_wrap=True)
        while not stop.due():
            stop.sleep(3600.0)
        server.stop(grace=5.0).wait()
