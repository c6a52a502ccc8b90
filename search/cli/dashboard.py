"""`lobtuna dashboard`: a start page and optuna-dashboard over every study of a database, safe to leave open."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, StorageOption, stderr, stdout
from search.cli.help import Command, examples

EPILOG = examples(
    "lobtuna dashboard --storage sqlite:///lobtuna.db",
    "# For others in your network, behind a password",
    "lobtuna dashboard --host 0.0.0.0 --auth quant:~/.lobtuna-password",
)
PATIENCE = 5.0  # seconds a page waits for an unreachable database; the browser repeats the request by itself
SHOWN = 10  # studies whose address is printed


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dashboard", cls=Command, epilog=EPILOG)(dashboard)


def dashboard(
    storage: StorageOption = DEFAULT_STORAGE,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="Where to listen; anything but localhost needs --auth.")
    ] = "localhost",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on; 0 takes a free one.")
    ] = 8080,
    writable: Annotated[
        bool, typer.Option("--writable", help="Allow what changes studies: notes, renaming, deleting.")
    ] = False,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:FILE", help="Ask for this user and the password in FILE, which only you may read."),
    ] = None,
) -> None:
    """Show every study of the database in a browser. Read-only and on this machine alone unless asked otherwise."""
    from search.report.start import dashboard_of
    from search.study.open import existing_storage
    from storage.dashboard.server import Settings, listening
    from storage.optuna_internals import study_id_of
    from storage.store import store_of

    settings = Settings(host, port, writable, auth)
    settings.rules()  # unsafe settings are refused before the database is asked
    _log_in_one_line()
    opened = existing_storage(storage, patience=PATIENCE)
    with listening(store_of(opened), settings, dashboard_of(opened)) as server:
        stdout.print(f"{server.url}  ({'writable' if writable else 'read-only'}; Ctrl-C ends it)", markup=False)
        studies = sorted(opened.get_all_studies(), key=lambda study: -study_id_of(study))
        for study in studies[:SHOWN]:
            address = f"{server.url}/dashboard/studies/{study_id_of(study)}"
            stdout.print(f"  {study.study_name:<24} {address}", markup=False, soft_wrap=True)
        if auth is not None and not server.local:
            stderr.print("passwords travel unencrypted over plain HTTP: put a proxy with TLS before it", soft_wrap=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server.run()


def _log_in_one_line() -> None:
    """Log the first line of each message: the application logs a whole stack trace for every failed request."""

    class FirstLine(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"dashboard: {record.getMessage().splitlines()[0]}"

    class Once(logging.Filter):
        last = ""

        def filter(self, record: logging.LogRecord) -> bool:
            message = record.getMessage()
            repeated, self.last = message == self.last, message
            return not repeated

    handler = logging.StreamHandler()
    handler.setFormatter(FirstLine())
    handler.addFilter(Once())
    logger = logging.getLogger("optuna_dashboard")
    logger.addHandler(handler)
    logger.propagate = False
