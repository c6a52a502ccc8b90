"""`lobtuna rank`: configurations by what is likely true of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.common import (
    DEFAULT_STORAGE,
    JsonOption,
    StorageOption,
    StudyArgument,
    print_json,
    stderr,
    stdout,
    storage_flag,
)

if TYPE_CHECKING:
    from search.study.ranking import RankedConfiguration, Ranking
    from search.studyfile.validation import ValidationSpec

SHOWN_PARAMETERS = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rank", epilog="Example:  lobtuna rank joint --csv ranking.csv")(rank)


def rank(
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Lines of the table.")] = 15,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write every line as CSV.")] = None,
    json: JsonOption = False,
) -> None:
    """Rank configurations by a seed-aware estimate, with its uncertainty; the luckiest single run stands beside it.

    The estimate shrinks each configuration's runs by how noisy they are and takes the search's own luck out.
    """
    from search.errors import SearchError
    from search.study.named import rank as ranked
    from search.study.ranking import to_csv, to_document

    found = ranked(storage, name)
    ranking, fraction = found.ranking, found.validation.report_fraction
    if csv is not None:
        try:
            csv.write_text(to_csv(ranking), encoding="utf-8")
        except OSError as error:
            raise SearchError(f"cannot write {csv}: {error.strerror}; name another file with --csv") from None
    if json:
        print_json(to_document(ranking, found.study, fraction))
    else:
        _print(ranking, found.study, found.validation, limit)
    if not ranking.repeated:
        stderr.print(
            f"no configuration was repeated: this order is mostly luck; next: lobtuna replicate "
            f"{found.study}{storage_flag(storage)}",
            markup=False,
            soft_wrap=True,
        )


def _print(ranking: Ranking, name: str, validation: ValidationSpec, limit: int) -> None:
    from rich.table import Table

    from search.study.ranking import varying

    head = ("", "trial", "n", "estimate", "90 %", "P(best)", "mean", "sd", "best run", "report")
    rows = [head, *((str(i), *_cells(row)) for i, row in enumerate(ranking.rows[:limit], 1))]
    widths = [max(len(row[c]) for row in rows) + 2 for c in range(len(head))]
    for unneeded in ("sd", "mean", "n", "best run", "P(best)", "report"):
        if sum(widths) - 2 > stdout.width:  # leave this column out rather than cut numbers off
            widths[head.index(unneeded)] = 0
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    shown = [c for c, width in enumerate(widths) if width]
    for c in shown:
        table.add_column(head[c], justify="right", no_wrap=True)
    for cells in rows[1:]:
        table.add_row(*(cells[c] for c in shown))
    stdout.print(
        f"{name}: mean weighted Pearson on the selection sequences ({validation.words})", markup=False, soft_wrap=True
    )
    stdout.print(table)
    names = varying(ranking.rows[:limit])
    for i, row in enumerate(ranking.rows[:limit] if names else (), 1):
        stdout.print(f"{i:>3}  {_parameters(row.configuration, names)}", markup=False, soft_wrap=True)
    for line in _remarks(ranking, validation.report_fraction, len(ranking.rows) - limit):
        stdout.print(line, markup=False, soft_wrap=True)


def _cells(row: RankedConfiguration) -> list[str]:
    def score(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    interval = "-" if row.low is None or row.high is None else f"{row.low:.4f}..{row.high:.4f}"
    chance = "-" if row.probability_best is None else f"{row.probability_best:.2f}"
    report = "-" if row.report is None else score(row.report[0])
    trial = "-" if row.trial is None else str(row.trial)
    count = f"{row.n} ({row.failed} failed)" if row.failed else str(row.n)
    cells = [trial, count, score(row.estimate), interval, chance, score(row.mean), score(row.spread)]
    return [*cells, score(row.best_run.value), report]


def _parameters(configuration: dict[str, Any], names: list[str]) -> str:
    from search.studyfile.values import show

    parts = [f"{name}={show(configuration[name])}" for name in names if name in configuration]
    more = f" and {len(parts) - SHOWN_PARAMETERS} more" if len(parts) > SHOWN_PARAMETERS else ""
    return " ".join(parts[:SHOWN_PARAMETERS]) + more


def _remarks(ranking: Ranking, fraction: float, hidden: int) -> list[str]:
    lines = []
    if hidden > 0:
        lines.append(f"{hidden} more: --limit {len(ranking.rows)}")
    if ranking.noise is not None and ranking.between is not None:
        lines.append(f"spread (sd): {ranking.noise:.4f} under the seed, {ranking.between:.4f} between configurations")
    if ranking.repeated:
        about = (
            "estimate and P(best) are about new sequences: the selection sequences were drawn again"
            if ranking.resampled
            else "estimate and P(best) are about these sequences alone: runs of older versions do not say how they did "
            "on each"
        )
        lines.append(about)
    if ranking.luck is not None:
        lines.append(f"luck of the search's own runs, by which these were chosen: {ranking.luck:+.4f}; taken out")
    if ranking.repeated:
        lucky = max(ranking.repeated, key=lambda row: row.best_run.value)
        lines.append(
            f"luckiest run: {lucky.best_run.name} with {lucky.best_run.value:.4f}, of the configuration ranked "
            f"{ranking.rows.index(lucky) + 1}"
        )
    if fraction:
        lines.append(f"report: mean on the {fraction:.0%} that no selection has seen; do not choose by it")
    return lines
