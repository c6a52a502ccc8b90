"""Puts a report together: reads the study once, asks each section for its part, writes one page and its tables."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import optuna

from lobmodels.files import writable_folder, write_atomically
from lobmodels.metric import metric_of
from lobmodels.schema import Schema
from search.report import (
    effects,
    ensembles,
    failures,
    fleet,
    importance,
    learning,
    nextstudy,
    pairs,
    parallel,
    peaks,
    progress,
    pruning,
    seeds,
    sequences,
    shift,
    trials,
)
from search.report.compare import Comparison, compare
from search.report.comparison import page as comparison_page
from search.report.comparison import sections as comparison_sections
from search.report.headline import INTERVALS, Headline, headline
from search.report.page import Lead, Page, Section, render
from search.report.record import Study, hours, read_study
from search.report.style import plural, score, share
from search.study.reference import References

PAGE, COMPARED = "report.html", "compare.html"
HELD = {
    "trials": "every trial with its configuration, scores, times and reason",
    "epochs": "every epoch of every trial",
    "best_runs": "the best finished runs",
    "importance": "importance of each parameter",
    "effects": "effect of each level of each parameter",
    "improvements": "every improvement of the best run and what it took",
    "pairs": "how much each pair of parameters shares",
    "ranges": "recommended ranges and why",
    "ranking": "repeated configurations with their estimates",
    "replicates": "their runs",
    "best_epochs": "best epochs by parameter",
    "foresight": "how early a score predicts the final one",
    "selection_report": "scores on selection and report sequences",
    "targets": "scores on the first two targets",
    "ensemble_weights": "ways to weigh the members of an ensemble",
    "shift_buckets": "scores where the data shift",
    "workers": "what each worker did",
    "failures": "reasons of failures",
    "comparison": "this study and others by every measure",
    "sides": "their best configurations and ensembles",
    "spending": "what they had found after equal hours and epochs",
}
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """A finished report: the page, the files beside it by name, the study file among them."""

    page: Page
    html: str
    files: dict[str, str]


def build_report(
    source: optuna.Study,
    announce: Progress = lambda _: None,
    analysis: Path | None = None,
    against: Sequence[optuna.Study] = (),
    references: References | None = None,
) -> Report:
    """Read a study and compute its report. Raises `SearchError` where lobtuna did not create the study.

    `analysis` is a folder that `lobtuna ensemble` wrote; without it one of this study in the usual place is taken.
    The study is compared with those in `against`. `references` take the place of those that are stored with it.
    """
    announce("reading the trials")
    study = read_study(source, references)
    averaged = ensembles.read_ensembles(study, analysis)
    announce("importance")
    ranked = importance.importance(study)
    announce("effects")
    found = effects.effects(study)
    looked = [] if found is None else pairs.pairs(found, ranked)
    following = nextstudy.next_study(study, found)
    announce("checkpoints")
    buckets, problems = shift.read_buckets(source, study)
    announce("the page")
    parts = [
        progress.section(study),
        seeds.section(study),
        sequences.report_section(study),
        importance.section(study, ranked),
        effects.section(study, found, ranked),
        pairs.section(found, looked),
        nextstudy.section(study, following),
        learning.curves_section(study),
        peaks.section(study),
        pruning.section(study),
        sequences.targets_section(study),
        ensembles.section(study, averaged),
        shift.section(buckets, problems),
        fleet.section(study),
        failures.section(study),
        parallel.section(study),
        trials.section(study),
    ]
    if against:
        parts[1:1] = comparison_sections(compare([source, *against]))
    files = {f"{table.name}.csv": table.to_csv() for part in parts for table in part.tables if table.rows}
    files[nextstudy.FILE] = following.text
    page = _page(study, parts, files, following)
    return Report(page, render(page), files)


def _page(study: Study, parts: list[Section], files: dict[str, str], following: nextstudy.NextStudy) -> Page:
    """The page of these sections, which offers `files` for download."""
    held = [(name, HELD.get(name.removesuffix(".csv"), "")) for name in sorted(files) if name != nextstudy.FILE]
    downloads = [(nextstudy.FILE, f"study file of {following.name}, ready to run"), *held]
    lead = _lead(headline(study))
    return Page(study.name, study.spec.question, _facts(study), parts, _footer(study), downloads, lead=lead)


def write_report(
    source: optuna.Study,
    folder: Path,
    announce: Progress = lambda _: None,
    analysis: Path | None = None,
    against: Sequence[optuna.Study] = (),
    references: References | None = None,
) -> Path:
    """Write the report of a study into `folder` and return the page's path; the other arguments as in `build_report`.

    Each file is replaced whole: a reader never sees half of one. Raises `OutputError` where that cannot be done, before
    the study is read if possible.
    """
    writable_folder(folder)
    report = build_report(source, announce, analysis, against, references)
    _require_valid(report)
    for name, text in report.files.items():
        write_atomically(folder / name, text)
    write_atomically(folder / PAGE, report.html)  # last: when it appears, the files it names are there
    return folder / PAGE


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write a comparison's page and its table into `folder`; returns the page's path. Raises `OutputError`."""
    writable_folder(folder)
    table = comparison.table()
    write_atomically(folder / f"{table.name}.csv", table.to_csv())
    write_atomically(folder / COMPARED, render(comparison_page(comparison)))
    return folder / COMPARED


def _require_valid(report: Report) -> None:
    """The study file must be one: it is read back as `lobtuna create` reads it, before anything is written."""
    from search.studyfile.spec import load_spec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / nextstudy.FILE
        path.write_text(report.files[nextstudy.FILE], encoding="utf-8")
        load_spec(path)


def _lead(first: Headline) -> Lead:
    step = first.step
    now = ("What now", f"{step.kind}: {step.reason}.")
    return Lead(
        ("forecast", "selection", "report", "what"),
        first.cells(),
        INTERVALS,
        (("Budget", first.budget), now),
        step.command,
    )


def _facts(study: Study) -> list[tuple[str, str]]:
    ended = study.of("complete", "pruned", "failed")
    counts = ", ".join(f"{len(study.of(s))} {s}" for s in ("complete", "pruned", "failed", "running") if study.of(s))
    facts = [("Trials", counts or "none")]
    if study.ranking.noise is not None:
        facts.append(("Spread under the seed", score(study.ranking.noise)))
    facts.append((study.time_unit.capitalize() if study.time_unit[0].islower() else study.time_unit, _hours(study)))
    if study.replicates:
        states = [t.state for t in study.replicates]
        counted = (f"{states.count(s)} {s}" for s in ("complete", "failed", "running", "waiting") if s in states)
        facts.append(("Replicates", ", ".join(counted)))
    facts.append(("Validation", f"{share(1 - study.report_fraction)} selection, {share(study.report_fraction)} report"))
    facts.append(("Data", study.fingerprint[:12] if study.fingerprint else "not bound yet"))
    devices = sorted({t.device for t in ended if t.device})
    if devices:
        facts.append(
            ("Devices", ", ".join(devices[:3]) + (f" and {len(devices) - 3} more" if len(devices) > 3 else ""))
        )
    if study.previous:
        imported = sum(t.imported is not None for t in study.trials)
        facts.append(("Follows", f"{study.previous} ({plural(imported, 'trial')} imported)"))
    return facts


def _hours(study: Study) -> str:
    spent = hours([*study.trials, *study.replicates])
    limit = study.spec.budget.hours
    return f"{spent:.1f}" + (f" (budget {limit:g})" if limit else "")


def _score_in_words(schema: Schema) -> str:
    targets = " and ".join(schema.targets) if len(schema.targets) < 4 else f"{len(schema.targets)} targets"
    if schema.is_challenge:
        return f"weighted Pearson correlations as the challenge defines them, mean of {targets}"
    return f"of the data's metric, {metric_of(schema).title}, mean of {targets}"


def _footer(study: Study) -> str:
    now = datetime.now(UTC)
    return (
        f"lobtuna {version('lobtuna')}, {now:%Y-%m-%d %H:%M} UTC. All scores are {_score_in_words(study.schema)} "
        f"unless said; intervals are {share(0.8)} unless said. Selection "
        "sequences choose epochs, prune runs and rank; report sequences do none of that."
    )
