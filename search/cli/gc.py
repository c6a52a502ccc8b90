"""`lobtuna gc`: remove stored bytes that nothing refers to any more."""

from __future__ import annotations

from typing import Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, JsonOption, StorageOption, print_json, stdout
from search.cli.help import Command, examples

EPILOG = examples(
    "# See what would go, then remove it",
    "lobtuna gc --dry-run",
    "lobtuna gc",
)


def register(app: typer.Typer) -> None:
    """Add the `gc` command."""
    app.command("gc", cls=Command, epilog=EPILOG)(gc)


def gc(
    storage: StorageOption = DEFAULT_STORAGE,
    artifacts: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A folder, s3:// or gs:// store.", show_default="the database itself"),
    ] = None,
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Keep younger bytes: their upload may not be over.")
    ] = "1h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, remove nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove checkpoints past each study's limit, states of finished trials, and what deleted studies left behind.

    In a bucket or folder only files that are this database's, by their name or by a trial that names them, are removed.
    """
    from search.study.open import existing_storage
    from search.study.retention import collect
    from search.work.stopping import parse_duration
    from storage.artifacts import require_folder
    from storage.store import store_of

    opened = existing_storage(storage)
    if artifacts is not None:
        require_folder(artifacts)
    sweep = collect(opened, store_of(opened).artifacts_for(artifacts), age=parse_duration(older_than), dry=dry_run)
    if json:
        print_json({**vars(sweep), "dry_run": dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    stdout.print(
        f"{verb} {sweep.removed} artifacts ({sweep.removed_bytes / 1e6:.1f} MB), "
        f"kept {sweep.kept} ({sweep.kept_bytes / 1e6:.1f} MB)"
    )
    if sweep.foreign:
        stdout.print(
            f"left {sweep.foreign} files ({sweep.foreign_bytes / 1e6:.1f} MB) that are not this database's",
            soft_wrap=True,
        )
