"""`lobtuna create`: put a study and its whole definition into the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    PluginOption,
    StorageOption,
    print_json,
    print_sampler_note,
    print_warnings,
    stdout,
    storage_flag,
)
from search.cli.help import Command, examples

if TYPE_CHECKING:
    from search.study.revise import Revision
    from search.studyfile.spec import StudySpec
    from search.work.begin import Created

EPILOG = examples(
    "# The study and its whole definition go into the database",
    "lobtuna create studies/joint.yaml --storage postgresql://me@host/db",
    "# Look at three configurations and an estimate of the time first",
    "lobtuna create studies/joint.yaml --data ~/lob --dry-run",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("create", cls=Command, epilog=EPILOG)(create)


def create(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")],
    storage: StorageOption = DEFAULT_STORAGE,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            envvar="LOBTUNA_DATA",
            metavar="DIR",
            help="Bind the study to this data now; otherwise its first worker does.",
        ),
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option("--artifacts", metavar="URL", help="Keep checkpoints in this folder or bucket."),
    ] = None,
    revise: Annotated[
        bool,
        typer.Option(
            "--revise",
            help="Apply a changed file: budget and retention in place, the rest as NAME@2 with all trials that fit.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Create nothing: show three configurations of the space and, with --data, how long all would take.",
        ),
    ] = False,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Create the study of STUDY.yaml, with its baselines queued. Workers then need its name and nothing else."""
    from search.errors import SearchError
    from search.work import begin

    spec, plugins = begin.read_definition(file, plugin or [], data, storage)
    if dry_run:
        from search.cli.preview import show_preview
        from search.study.create import refuse_past_end

        refuse_past_end(spec)
        if revise or artifacts is not None:
            raise SearchError("--dry-run looks at the file alone: leave --revise and --artifacts out")
        show_preview(spec, data, json, _budget(spec))
        return
    if revise:
        revision = begin.revise(spec, storage, data, artifacts=artifacts, plugins=plugins)
        _print_revision(revision, spec, storage, json)
        return
    created = begin.create(spec, storage, data, artifacts=artifacts, plugins=plugins)
    print_warnings(created.warnings)
    print_sampler_note(spec)
    if json:
        print_json({"study": created.study.study_name, **_counts(created)})
    else:
        _print_created(created, storage)


def _counts(created: Created) -> dict[str, int]:
    return {name: getattr(created, name) for name in ("searched", "fixed", "waiting")}


def _print_created(created: Created, storage: str) -> None:
    from storage.url import redact_url

    study, spec, existed = created.study, created.spec, created.existed
    found = f"; it was there already, as the file describes it, with {len(study.get_trials(deepcopy=False))} trials"
    stdout.print(f"{study.study_name} is in {redact_url(storage)}{found if existed else ''}", markup=False)
    if spec.question:
        stdout.print(f"  {spec.question}", markup=False)
    stdout.print(
        f"  {created.searched} parameters searched, {created.fixed} fixed; {created.waiting} queued; "
        f"budget {_budget(spec)}"
    )
    _print_next(study.study_name, storage)


def _print_next(name: str, storage: str) -> None:
    stdout.print(f"next: lobtuna work {name}{storage_flag(storage)} --data DIR", markup=False, soft_wrap=True)


def _budget(spec: StudySpec) -> str:
    terms = spec.budget
    parts = [
        f"{terms.trials} trials" if terms.trials else "",
        f"{terms.hours:g} hours" if terms.hours else "",
        f"until {terms.until:%Y-%m-%d %H:%M %Z}" if terms.until else "",
        "until it stalls" if terms.stalled else "",
    ]
    return ", ".join(part for part in parts if part) or "none: it runs until it is stopped"


def _print_revision(revision: Revision, spec: StudySpec, storage: str, json: bool) -> None:
    from search.study.create import describe_differences

    name = revision.study.study_name
    if json:
        changes: dict[str, Any] = {key: {"old": old, "new": new} for key, (old, new) in revision.changes.items()}
        document = {"study": name, "previous": revision.previous, "in_place": revision.in_place, "changes": changes}
        print_json(
            {**document, "imported": revision.imported, "offered": revision.offered, "replicates": revision.replicates}
        )
        return
    if not revision.changes and revision.in_place:
        stdout.print(f"{name} is already as the file describes it: nothing to revise", markup=False)
        return
    differences = describe_differences(revision.changes)
    if revision.in_place:
        stdout.print(f"{name} changed in place: {differences}", markup=False)
        return
    stdout.print(f"{name} follows {revision.previous}{f': {differences}' if differences else ''}", markup=False)
    stdout.print(f"  {revision.imported} of {revision.offered} finished trials are in its space and were imported")
    if revision.replicates:
        stdout.print(f"  with {revision.replicates} replicates of them")
    for reason, count in revision.reasons.most_common(3):
        stdout.print(f"  {count} left behind: {reason}", markup=False)
    _print_next(name, storage)
