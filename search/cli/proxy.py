"""`lobtuna proxy`: one process near the database that a large fleet talks to."""

from __future__ import annotations

from typing import Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, StorageOption, stderr
from search.cli.help import Command, examples

CALL_PATIENCE = 5.0  # seconds that one call waits for an unreachable database

EPILOG = examples(
    "# Here, beside the database",
    "lobtuna proxy --storage postgresql://me@localhost/db --port 13000",
    "# On each worker",
    "lobtuna work joint --storage grpc://host:13000 --data ~/lob",
)


def register(app: typer.Typer) -> None:
    """Add the `proxy` command."""
    app.command("proxy", cls=Command, epilog=EPILOG)(proxy)


def proxy(
    storage: StorageOption = DEFAULT_STORAGE,
    host: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Address to listen on. There is no password: 0.0.0.0 only inside a private network."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 takes any free one and prints it.")
    ] = 13000,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Calls answered at the same time.")] = 16,
) -> None:
    """Serve studies, beats and artifacts of --storage over gRPC until a signal. Workers use grpc://HOST:PORT."""
    from search.work.stopping import Stop
    from storage.backends.registry import PATIENCE, SERVER, backend_of, open_store
    from storage.errors import StorageError
    from storage.url import redact_url

    try:
        from storage.backends.grpc_server import make_server
    except ImportError:
        raise StorageError("lobtuna proxy needs grpcio: pip install 'lobtuna[grpc]'") from None

    if not backend_of(storage).sql:
        raise StorageError(f"{redact_url(storage)}: a proxy serves a database, sqlite:/// or postgresql://")
    # Clients wait for the database themselves; a call that waited here would hold one of the threads.
    store = open_store(storage, patience=CALL_PATIENCE, opening=PATIENCE, connections=SERVER)
    server, bound = make_server(store, host, port, threads)
    stop = Stop()
    with stop.on_signals():
        server.start()
        stderr.print(f"serving {redact_url(storage)} at grpc://{host}:{bound}", markup=False, soft_wrap=True)
        while not stop.due():
            stop.sleep(3600.0)
        server.stop(grace=5.0).wait()
