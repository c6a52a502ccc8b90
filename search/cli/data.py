"""`lobtuna data`: check or profile a data set before anything is trained on it, or simulate one.

Cutting and importing are in `search.cli.convert`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from search.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    PluginOption,
    StorageOption,
    TrustOption,
    print_json,
    progress_bar,
    stderr,
    stdout,
)
from search.cli.convert import register_in
from search.cli.help import Command, Group

if TYPE_CHECKING:
    from lobmodels.checkpoint import Checkpoint
    from lobmodels.profile.audit import FileAudit, Shift
    from lobmodels.schema import Schema

SHIFTS_SHOWN = 8
SchemaOption = Annotated[
    Path | None,
    typer.Option("--schema", metavar="FILE", help="Read the data as this schema says, not as the one beside it."),
]


def register(app: typer.Typer) -> None:
    """Add the `data` commands."""
    data = typer.Typer(
        cls=Group,
        help="Check, profile, cut, import or synthesise data.",
        epilog="lobtuna data check ~/lob",
    )
    data.command("check", cls=Command, epilog="lobtuna data check ~/lob")(check)
    data.command("profile", cls=Command, epilog="lobtuna data profile ~/lob --output profile")(profile)
    data.command("synth", cls=Command, epilog="lobtuna data synth --output lob --train 400 --valid 100")(synth)
    register_in(data)
    app.add_typer(data, name="data")


def check(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A parquet file, or a folder with train and valid.parquet.")
    ],
    schema_file: SchemaOption = None,
    json: JsonOption = False,
) -> None:
    """Read all of PATH once and print every rule of the format it breaks, its size, scale and shift, and what of it
    teaches nothing.

    The format is the challenge's, unless a schema.yaml lies beside the data.
    """
    from lobmodels.data import member_paths
    from lobmodels.errors import DataError
    from lobmodels.profile.audit import shifts, warnings

    paths = [path] if path.is_file() else list(member_paths(path))
    schema = _schema(schema_file, path)
    audits = [_audit(member, schema) for member in paths]
    differences = shifts(*audits) if len(audits) == 2 else []
    hints = warnings(audits)
    if json:
        print_json(_document(audits, differences, hints))
    else:
        _print_check(audits, differences, hints, schema)
    broken = [f"{audit.path} ({len(audit.problems)})" for audit in audits if audit.problems]
    if broken:
        raise DataError(f"{path}: breaks the format: {', '.join(broken)}; repair or download what is named above")


def profile(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with train.parquet and valid.parquet.")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for the page and the CSV files.")],
    study: Annotated[
        str | None,
        typer.Option("--study", metavar="STUDY", help="Also show what a trained run of this study depends on."),
    ] = None,
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", help="Number of that run's trial; the best one if not given.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    plugin: PluginOption = None,
    trust_plugins: TrustOption = False,
    schema_file: SchemaOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a data set: scale, shift, targets, signal, importance of columns. Writes one HTML page and CSV files.

    The page opens without a network. Scores come from the sequences that its sentences name.
    """
    from lobmodels.data import load_dataset
    from lobmodels.files import writable_folder
    from lobmodels.profile import profile_dataset
    from lobmodels.profile.findings import findings
    from search.profile import write_profile

    if trial is not None and study is None:
        raise typer.BadParameter("--trial names a trial of a study: give --study too")
    if (plugin or trust_plugins) and study is None:
        raise typer.BadParameter("--plugin and --trust-plugins are for a run of a study: give --study too")
    checkpoint = None if study is None else _checkpoint(storage, study, trial, plugin or (), trust_plugins)
    with stderr.status("reading") as status:

        def show(part: str) -> None:
            status.update(part)
            if not stderr.is_terminal:
                stderr.print(part)

        dataset = load_dataset(path, schema=_schema(schema_file, path))
        writable_folder(output)  # refuse now, not after minutes of work
        found = profile_dataset(dataset, checkpoint, _device(), show)
        show("writing")
        paths = write_profile(found, output)
    if json:
        print_json({"page": str(paths[0]), "tables": [str(file) for file in paths[1:]], "findings": findings(found)})
        return
    for sentence in findings(found).values():
        stdout.print(f"- {escape(sentence)}")
    stdout.print(f"\n{escape(str(paths[0]))}", soft_wrap=True)


def _checkpoint(storage: str, study: str, trial: int | None, plugins: Sequence[Path], trust: bool) -> Checkpoint:
    """The stored weights of a run: of `trial`, or else of the study's best one."""
    from search.errors import SearchError
    from search.study.open import open_study
    from search.study.plugins import require_code
    from search.study.runs import best_run, finished_runs, load_checkpoint, nothing_complete

    opened = open_study(storage, study)
    require_code(opened, plugins, trust)
    runs = finished_runs(opened)
    chosen = best_run(runs) if trial is None else next((run for run in runs if run.number == trial), None)
    if chosen is None:
        known = ", ".join(str(run.number) for run in runs[:20]) or "none yet"
        which = "no complete run" if trial is None else f"no complete trial {trial}"
        raise SearchError(
            f"study {study!r} has {which}; complete trials: {known}" if runs else nothing_complete(opened)
        )
    return load_checkpoint(opened, chosen)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def synth(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write into.")],
    train: Annotated[int, typer.Option(metavar="N", help="Sequences of train.parquet.")] = 400,
    valid: Annotated[int, typer.Option(metavar="N", help="Sequences of valid.parquet.")] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same data.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace data that is there.")] = False,
) -> None:
    """Simulate an order book and write train.parquet and valid.parquet in the challenge's format.

    The signal is known: t0 is clearly easier than t1, valid is shifted against train. The challenge's own set has
    10,721 + 1,444 sequences.
    """
    from lobmodels.data.synthetic import write_dataset

    written = 0
    with progress_bar("simulating") as step:

        def advance(sequences: int) -> None:
            nonlocal written
            written += sequences
            step(written, train + valid)

        write_dataset(output, train, valid, seed, progress=advance, overwrite=overwrite)
    for name in ("train", "valid"):
        file = output / f"{name}.parquet"
        count = train if name == "train" else valid
        stdout.print(f"{escape(str(file))}: {count:,} sequences, {file.stat().st_size / 1e6:.1f} MB", soft_wrap=True)


def _schema(file: Path | None, data: Path) -> Schema:
    """The schema in `file`, else the one that the data states, else the challenge's."""
    from lobmodels.schema_file import find_schema, read_schema

    return find_schema(data) if file is None else read_schema(file)


def _audit(path: Path, schema: Schema) -> FileAudit:
    from lobmodels.profile.audit import audit_file

    with progress_bar(f"reading {path.name}") as step:
        return audit_file(path, schema, progress=step)


def _document(audits: list[FileAudit], differences: list[Shift], hints: list[str]) -> dict[str, Any]:
    files = [
        {
            "path": str(audit.path),
            "rows": audit.rows,
            "sequences": audit.sequences,
            "scored_rows": audit.scored_rows,
            "nan": audit.nan,
            "inf": audit.inf,
            "scale": {name: vars(scale) for name, scale in audit.scale.items()},
            "problems": audit.problems,
            "notes": audit.notes,
            "dead": asdict(audit.dead),
        }
        for audit in audits
    ]
    return {"files": files, "shift": [vars(shift) for shift in differences], "warnings": hints}


def _print_check(audits: list[FileAudit], differences: list[Shift], hints: list[str], schema: Schema) -> None:
    stdout.print(_sizes(audits))
    for audit in audits:
        if audit.scale:
            stdout.print(_scales(audit, schema))
    if differences:
        stdout.print(_shift_table(differences))
    for audit in audits:
        for note in (*audit.notes, *audit.dead.lines()):
            stdout.print(f"note {escape(audit.path.name)}: {escape(note)}", soft_wrap=True)
    for hint in hints:
        stdout.print(f"[yellow]warning[/] {escape(hint)}", soft_wrap=True)
    for audit in audits:
        for problem in audit.problems:
            stdout.print(f"[red]problem[/] {escape(audit.path.name)}: {escape(problem)}", soft_wrap=True)
    if not any(audit.problems for audit in audits):
        stdout.print("[green]the format is kept[/]")


def _sizes(audits: list[FileAudit]) -> Table:
    table = Table("", *(escape(audit.path.name) for audit in audits), title="Size", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    lines: dict[str, Any] = {
        "sequences": lambda audit: f"{audit.sequences:,}",
        "steps each": lambda audit: _steps(audit) if not audit.problems else "see problems",
        "rows": lambda audit: f"{audit.rows:,}",
        "scored rows": lambda audit: f"{audit.scored_rows:,}",
        "NaN": lambda audit: f"{audit.nan:,}",
        "inf": lambda audit: f"{audit.inf:,}",
        "problems": lambda audit: f"{len(audit.problems):,}",
    }
    for name, value in lines.items():
        table.add_row(name, *(value(audit) for audit in audits))
    return table


def _steps(audit: FileAudit) -> str:
    alike = audit.shortest == audit.longest
    return f"{audit.longest:,}" if alike else f"{audit.shortest:,} to {audit.longest:,}"


def _scales(audit: FileAudit, schema: Schema) -> Table:
    """Scale of one file, a line for each group of columns."""
    title = f"Scale of {escape(audit.path.name)}"
    table = Table("columns", "", "mean", "std", "min", "max", title=title, title_justify="left")
    for column in table.columns[2:]:
        column.justify = "right"
    for group, members in {**schema.column_groups, "targets": schema.targets}.items():
        found = [audit.scale[name] for name in members if name in audit.scale]
        if found:
            table.add_row(
                f"{members[0]}-{members[-1]}" if len(members) > 1 else members[0],
                group,
                _range([scale.mean for scale in found]),
                _range([scale.std for scale in found]),
                f"{min(scale.min for scale in found):.2f}",
                f"{max(scale.max for scale in found):.2f}",
            )
    return table


def _range(values: list[float]) -> str:
    low, high = (f"{round(value, 2) + 0.0:.2f}" for value in (min(values), max(values)))  # + 0.0: no "-0.00"
    return low if low == high else f"{low} to {high}"


def _shift_table(differences: list[Shift]) -> Table:
    title = "Largest shifts from train to valid"
    table = Table("column", "KS distance", "mean shift / std", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for shift in differences[:SHIFTS_SHOWN]:
        table.add_row(shift.column, f"{shift.ks:.3f}", f"{shift.mean_shift:+.3f}")
    return table
