"""`lobtuna studies`: what a database holds."""

from __future__ import annotations

import typer

from search.cli.common import DEFAULT_STORAGE, JsonOption, StorageOption, print_json, stdout
from search.cli.help import Command

STATES = ("complete", "pruned", "failed", "running", "waiting")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("studies", cls=Command, epilog="lobtuna studies --storage sqlite:///lobtuna.db")(studies)


def studies(storage: StorageOption = DEFAULT_STORAGE, json: JsonOption = False) -> None:
    """List the studies of a database: trials by state, the best score, revisions and replicates."""
    from rich.table import Table

    from search.study.listing import list_studies
    from search.study.open import SEEDS, existing_storage

    found = list_studies(existing_storage(storage))
    if json:
        print_json([study.to_json() for study in found])
        return
    if not found:
        stdout.print("no study yet: lobtuna create STUDY.yaml")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("study", "trials", "best", "replicates", "revision of"):
        table.add_column(column, justify="right" if column == "best" else "left")
    for study in found:
        best = "-" if study.best is None else f"{study.best:.4f}"
        orphaned = "replicates of a study that is gone" if study.name.endswith(SEEDS) else ""
        origin = study.revision_of or orphaned or ("" if study.ours else "made by plain Optuna")
        repeated = "-" if study.replicates is None else _counts(study.replicates)
        table.add_row(study.name, _counts(study.trials), best, repeated, origin)
    stdout.print(table)


def _counts(trials: dict[str, int]) -> str:
    """States that have trials, as in "12 complete, 1 running"."""
    return ", ".join(f"{trials[state]} {state}" for state in STATES if trials[state]) or "none"
