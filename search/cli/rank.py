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
from search.cli.help import Command, examples

if TYPE_CHECKING:
    from rich.table import Table

    from lobmodels.schema import Schema
    from search.study.named import StudyRanking
    from search.study.ranking import RankedConfiguration, Ranking

HEAD = ("trial", "n", "estimate", "90 %", "P(best)", "mean", "sd", "best run", "report")
UNNEEDED = ("sd", "mean", "n", "best run", "P(best)", "report")  # left out of a narrow terminal, in this order

EPILOG = examples(
    "lobtuna rank joint",
    "lobtuna rank joint --columns estimate,report,lr --csv ranking.csv",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rank", cls=Command, epilog=EPILOG)(rank)


def rank(
    name: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Lines of the table.")] = 15,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B,..", help="Only these columns and parameters: estimate,report,lr."),
    ] = None,
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
        _print(found, limit, _named(columns, ranking))
    if not ranking.repeated:
        stderr.print(
            f"no configuration was repeated: this order is mostly luck; next: lobtuna replicate "
            f"{found.study}{storage_flag(storage)}",
            markup=False,
            soft_wrap=True,
        )


def _named(columns: str | None, ranking: Ranking) -> list[str]:
    """The columns and parameters named in `--columns`; none where it was not given. Raises `SearchError` for others."""
    from search.errors import SearchError

    wanted = [part.strip() for part in (columns or "").split(",") if part.strip()]
    known = [*HEAD, *dict.fromkeys(name for row in ranking.rows for name in row.configuration)]
    for name in wanted:
        if name not in known:
            raise SearchError(f"--columns {name}: there is no such column or parameter; there are {', '.join(known)}")
    return wanted


def _print(found: StudyRanking, limit: int, wanted: list[str]) -> None:
    from lobmodels.metric import metric_of
    from search.study.ranking import varying

    ranking, title = found.ranking, metric_of(found.schema).title.removesuffix(" correlation")
    stdout.print(
        f"{found.study}: mean {title} on the selection sequences ({found.validation.words})",
        markup=False,
        soft_wrap=True,
    )
    rows = ranking.rows[:limit]
    cells = [dict(zip(HEAD, _cells(row), strict=True)) | _values(row.configuration) for row in rows]
    stdout.print(_table(wanted or _fitting(cells), cells))
    names = [] if wanted else varying(rows)
    for i, row in enumerate(rows if names else (), 1):
        values = " ".join(f"{key}={value}" for key, value in _values(row.configuration).items() if key in names)
        stdout.print(stdout.fold(f"{i:>3}  {values}", indent=5), markup=False, soft_wrap=True)
    for line in _remarks(found, len(ranking.rows) - limit):
        stdout.print(stdout.fold(line, indent=2), markup=False, soft_wrap=True)


def _fitting(cells: list[dict[str, str]]) -> list[str]:
    """The columns that a terminal has room for: one is left out whole rather than its numbers cut."""
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) + 2 for name in HEAD}
    for unneeded in UNNEEDED:
        if sum(widths.values()) + len(str(len(cells))) > stdout.width:
            del widths[unneeded]
    return list(widths)


def _table(columns: list[str], cells: list[dict[str, str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in ("", *columns):
        table.add_column(name, justify="right", no_wrap=name in HEAD, overflow="fold")
    for i, row in enumerate(cells, 1):
        table.add_row(str(i), *(row.get(name, "-") for name in columns))
    return table


def _values(configuration: dict[str, Any]) -> dict[str, str]:
    """Parameters as text, real numbers in four digits."""
    from search.studyfile.values import show

    return {k: f"{v:.4g}" if isinstance(v, float) else show(v) for k, v in configuration.items()}


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


def _evidence(ranking: Ranking, schema: Schema) -> str:
    """What sequences the ranking speaks of, and why."""
    from lobmodels.metric import metric_of

    if ranking.resampled:
        return "new sequences: the selection sequences were drawn again"
    if not metric_of(schema).correlates:
        return f"these sequences alone: scores of the metric {schema.metric} cannot be drawn again by sequence"
    return "these sequences alone: runs of older versions do not say how they did on each"


def _remarks(found: StudyRanking, hidden: int) -> list[str]:
    lines, ranking, fraction = [], found.ranking, found.report_fraction
    if hidden > 0:
        lines.append(f"{hidden} more: --limit {len(ranking.rows)}")
    if ranking.noise is not None and ranking.between is not None:
        lines.append(f"spread (sd): {ranking.noise:.4f} under the seed, {ranking.between:.4f} between configurations")
    if ranking.repeated:
        lines.append(f"estimate and P(best) are about {_evidence(ranking, found.schema)}")
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
