"""`lobtuna run`: `create` and `work` on one machine; with a plan, everything from the search to the submission."""

from __future__ import annotations

import inspect
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from search.cli.common import print_json, print_sampler_note, print_warnings, stderr
from search.cli.help import Command, examples
from search.cli.work import work

File = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]


class Plan(StrEnum):
    """How the budget is divided."""

    ensemble = "ensemble"


EPILOG = examples(
    "# Create and work, on four cores",
    "lobtuna run studies/joint.yaml --data ~/lob --slots 4",
    "# From the search to the submission",
    "lobtuna run studies/joint.yaml --data ~/lob --plan ensemble --output submission.zip",
)


def register(app: typer.Typer) -> None:
    """Add the command, with the options of `work`."""
    app.command("run", cls=Command, epilog=EPILOG)(run)


def run(
    file: File,
    plan: Annotated[
        Plan | None,
        typer.Option(
            "--plan",
            metavar="ensemble",
            help="ensemble: 60 % of the budget for the search, then replicates of the best eight configurations, then "
            "seeds where the ensemble gains most, then the export.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="With --plan: the zip to write at the end.")
    ] = Path("submission.zip"),
    force: Annotated[bool, typer.Option("--force", help="With --plan: overwrite a zip that exists.")] = False,
    **options: Any,
) -> None:
    """Create the study of STUDY.yaml and work on it here; a study that is there already goes on where it was."""
    from search.work.posix import require_posix

    require_posix()
    from search.study.open import open_study
    from search.study.plan import begin_plan
    from search.work.begin import create, read_definition

    spec, plugins = read_definition(file, options["plugin"] or [], options["data"], options["storage"])
    print_warnings(create(spec, options["storage"], options["data"], plugins=plugins).warnings)
    if plan is not None and not begin_plan(open_study(options["storage"], spec.name)).exported:
        _refuse_to_overwrite(output, force)
    print_sampler_note(spec)
    if plan is None:
        work(spec.name, **options)
        return
    work(spec.name, **{**options, "json": False})  # the plan's document is the command's
    _export(spec.name, output, force, options)


def _refuse_to_overwrite(output: Path, force: bool) -> None:
    """Raise before the first trial what the export would raise after the last."""
    from search.errors import SearchError

    if output.exists() and not force:
        raise SearchError(
            f"{output} exists and would be overwritten: name another --output, or replace it with --force"
        )


def _export(name: str, output: Path, force: bool, options: dict[str, Any]) -> None:
    """The last phase; where the plan has not come to it, or did it before, the phase in words."""
    from lobmodels.data import load_dataset
    from search.cli.export import print_shipment
    from search.ship.export import Shipment
    from search.ship.plan_export import export_plan

    data = load_dataset(options["data"]).valid
    found = export_plan(options["storage"], name, data, output, force=force)
    if options["json"]:
        document = found.document() if isinstance(found, Shipment) else None
        print_json({"study": name, "submission": document, "plan": found if document is None else "done"})
    elif isinstance(found, str):
        stderr.print(f"plan: {found}", markup=False, soft_wrap=True)
    else:
        print_shipment(found)
        for remark in found.remarks:
            stderr.print(remark, markup=False, soft_wrap=True)


def _signature() -> inspect.Signature:
    """The command's own parameters, then those of `work` but the study's name."""
    own, theirs = get_type_hints(run, include_extras=True), get_type_hints(work, include_extras=True)
    first = [
        parameter.replace(annotation=own[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(run).parameters.items()
        if name != "options"
    ]
    rest = [
        parameter.replace(annotation=theirs[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(work).parameters.items()
        if name != "study"
    ]
    return inspect.Signature([*first, *rest])


_own = _signature()  # once: it reads the signature that it then replaces
run.__signature__ = _own  # type: ignore[attr-defined]
run.__annotations__ = {name: parameter.annotation for name, parameter in _own.parameters.items()}
