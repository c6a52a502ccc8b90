"""`lobtuna run`: `create` and `work` on one machine."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from search.cli.common import print_sampler_note, print_warnings
from search.cli.work import work

File = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]


def register(app: typer.Typer) -> None:
    """Add the command, with the options of `work`."""
    app.command("run", epilog="Example:  lobtuna run studies/smoke.yaml --data ~/lob")(run)


def run(file: Path, **options: Any) -> None:
    """Create the study of STUDY.yaml and work on it here; a study that is there already goes on where it was."""
    from search.work.posix import require_posix

    require_posix()
    from search.studyfile.spec import load_spec
    from search.work.begin import create

    spec = load_spec(file)
    print_warnings(create(spec, options["storage"], options["data"]).warnings)
    print_sampler_note(spec)
    work(spec.name, **options)


def _signature() -> inspect.Signature:
    """The parameters of `work` with a study file in the place of the study's name."""
    hints = get_type_hints(work, include_extras=True)
    first = inspect.Parameter("file", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=File)
    rest = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(work).parameters.items()
        if name != "study"
    ]
    return inspect.Signature([first, *rest])


run.__signature__ = _signature()  # type: ignore[attr-defined]
run.__annotations__ = {name: parameter.annotation for name, parameter in _signature().parameters.items()}
