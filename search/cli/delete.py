"""`lobtuna delete`: remove a study for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.common import DEFAULT_STORAGE, StorageOption, StudyArgument, stdout
from search.cli.help import Command

if TYPE_CHECKING:
    from search.study.delete import Deletion


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("delete", cls=Command, epilog="lobtuna delete smoke --storage sqlite:///lobtuna.db")(delete)


def delete(
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; a script cannot answer.")] = False,
) -> None:
    """Delete a study with its trials, its replicates and their stored weights. There is no way back."""
    import sys

    import optuna

    from search.errors import SearchError
    from search.study import delete as deletion
    from search.study.open import existing_storage, require_study

    opened = existing_storage(storage, name)
    require_study(opened, name)
    study = optuna.load_study(study_name=name, storage=opened)
    plan = deletion.plan_deletion(opened, study)
    if not yes:
        if not sys.stdin.isatty():
            raise SearchError(f"{_what(plan)} would be deleted, and nobody can answer here: confirm with --yes")
        typer.confirm(f"Delete {_what(plan)}?", abort=True)
    removed = deletion.delete(opened, study)
    stdout.print(f"deleted {_what(plan)}, {removed} artifacts removed", markup=False, soft_wrap=True)
    if plan.revisions:
        stdout.print(f"still there: {', '.join(plan.revisions)}", markup=False, soft_wrap=True)


def _what(plan: Deletion) -> str:
    """The studies and their trials, as text for the question and the messages."""
    running = f", {plan.running} of them running: their workers will end" if plan.running else ""
    return f"{' and '.join(reversed(plan.studies))} ({plan.trials} trials{running})"
