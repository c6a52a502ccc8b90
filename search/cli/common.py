"""What every command shares: options for the study and the data, and the two streams of output."""

import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleDimensions
from rich.markup import escape

from search import DEFAULT_STORAGE
from search.errors import EXPECTED, SearchError, told

if TYPE_CHECKING:
    from search.studyfile.spec import StudySpec

WIDE = 240  # columns assumed for a pipe or a file

StorageOption = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="LOBTUNA_STORAGE",
        metavar="URL",
        help="Database of the study: sqlite:///FILE, postgresql://..., grpc://HOST:PORT or journal://FILE.",
        show_default="sqlite:///lobtuna.db",
    ),
]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="LOBTUNA_DATA",
        metavar="DIR",
        help="Folder with train.parquet and valid.parquet.",
    ),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Python file with parts of yours; may be given often."),
]
TrustOption = Annotated[
    bool, typer.Option("--trust-plugins", help="Run the source of plugins that came with the study from the database.")
]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study in the database.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


class _Results(Console):
    """Stdout. A pipe or a file has no width, so lines and tables written to one are not cut at 80 columns."""

    @property
    def size(self) -> ConsoleDimensions:
        found, set_by_user = super().size, os.environ.get("COLUMNS", "")
        width = int(set_by_user) if set_by_user.isdigit() else found.width if self.is_terminal else WIDE
        return ConsoleDimensions(width, found.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        Console.size.fset(self, new_size)  # type: ignore[attr-defined]

    def fold(self, text: str, indent: int) -> str:
        """`text` wrapped to the terminal, further lines indented; in a pipe it stays one line."""
        if not (self.is_terminal or os.environ.get("COLUMNS", "").isdigit()):
            return text
        return fill(text, self.width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


stdout = _Results(highlight=False)  # results
# In a notebook `!lobtuna work` has a terminal that cannot be redrawn; the kernel sets this variable.
NOTEBOOK = "JPY_PARENT_PID" in os.environ
stderr = Console(stderr=True, highlight=False, force_terminal=False if NOTEBOOK else None)  # logs and progress


@contextmanager
def unless_asked(context: typer.Context, option: str) -> Iterator[None]:
    """For work that an environment variable asks for in passing: an expected failure of it is a note on stderr. Where
    the option itself was given, the failure is raised."""
    try:
        yield
    except EXPECTED as error:
        source = context.get_parameter_source(option)
        if source is None or source.name != "ENVIRONMENT":  # by name: typer may bring a click of its own
            raise
        stderr.print(f"note: {told(error)}", markup=False, soft_wrap=True)


def storage_flag(storage: str) -> str:
    """The option by which a suggested command reaches the same database: empty for the default; shows no password."""
    from storage.url import redact_url

    if storage == DEFAULT_STORAGE:
        return ""
    shown = redact_url(storage)
    return f" --storage {shlex.quote(shown)}" if shown == storage.strip() else " --storage $LOBTUNA_STORAGE"


def named_runs(members: str | None) -> tuple[str, ...]:
    """The names in `--members`; none where it was not given. Raises `SearchError` where it was given without a name."""
    names = tuple(part.strip() for part in (members or "").split(",") if part.strip())
    if members is not None and not names:
        raise SearchError("--members names no run; give some, as in 3,7,joint.seeds#12, or leave it out")
    return names


def print_sampler_note(spec: "StudySpec") -> None:
    """Say on stderr what the study's sampler does not learn, if there is anything."""
    from search.study.samplers import sampler_note

    note = sampler_note(spec)
    if note is not None:
        stderr.print(f"note: {note}", markup=False)


def print_warnings(lines: Iterable[str]) -> None:
    """Each line on stderr."""
    for line in lines:
        stderr.print(f"[yellow]warning[/] {escape(line)}", soft_wrap=True)


def print_json(document: Any) -> None:
    """Write `document` to stdout as JSON, keys in their given order; NaN is refused, as other readers refuse it."""
    print(json.dumps(document, indent=2, allow_nan=False))


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that disappears at the end, moved by calls `(done, in all)`; none where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
