"""The commands as functions: the same options, the same semantics, typed results in the place of printed lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lobtuna.database import storage_url
from lobtuna.results import Created, Exported, Ranked, Refitted, Replicated, Scored, Verified, Worked
from lobtuna.study import Study

if TYPE_CHECKING:
    from lobmodels.plugins.source import Source
    from search.studyfile.spec import StudySpec

StudyLike = Study | str  # a study, or its name in the database `storage`
File = Path | str


def create(
    definition: Mapping[str, Any] | File,
    storage: str | None = None,
    *,
    data: File | None = None,
    artifacts: str | None = None,
    revise: bool = False,
    plugins: Sequence[File] = (),
) -> Created:
    """`lobtuna create`: put a study into the database, its baselines queued, with `plugins`: files of yours.

    `definition` is a study file, or a mapping of the same form: `{"name": ..., "parameters": {...}}`. Raises
    `SpecError` that lists every problem of it, `StudyExistsError` where the study has another definition.
    """
    from search.study.plugins import load_plugins
    from search.work import begin

    sources = load_plugins(plugins)
    spec, url = _spec(definition), storage_url(storage)
    folder = None if data is None else Path(data)
    used = begin.checked_plugins(spec, sources, len(plugins), folder)
    if not revise:
        made = begin.create(spec, url, folder, artifacts=artifacts, plugins=used)
        return Created(Study(url, spec.name), made.existed)
    revision = begin.revise(spec, url, folder, artifacts=artifacts, plugins=used)
    unchanged = revision.in_place and not revision.changes
    study = Study(url, revision.study.study_name)
    return Created(study, unchanged, revision.previous, revision.changes, revision.imported)


def work(
    study: StudyLike,
    data: File,
    storage: str | None = None,
    *,
    gpus: str | None = None,
    slots: int | None = None,
    **options: Any,
) -> Worked:
    """`lobtuna work`: run trials here until the study's budget is spent, a limit is reached, or an interrupt.

    `options` are the fields of `search.work.options.WorkOptions`: `trials`, `time_limit` (seconds), `device`, ... On a
    CPU without `slots` it runs in this process. Progress goes to stderr. Raises `SearchError`, `DataError`,
    `StorageError`, `DeviceError`.
    """
    from rich.console import Console

    from search.cli.common import NOTEBOOK
    from search.work.options import WorkOptions
    from search.work.start import start

    url, name = _found(study, storage)
    places: dict[str, Any] = {"gpus": gpus, "slots": slots}
    # A notebook's stderr says that it is a terminal, and cannot redraw a line: it gets lines, not boxes.
    terminal = False if NOTEBOOK else None
    console = Console(stderr=True, highlight=False, force_jupyter=False, force_terminal=terminal)
    done = start(url, name, Path(data), WorkOptions(**options), console, **places)
    return Worked(Study(url, name), done)


def replicate(
    study: StudyLike,
    storage: str | None = None,
    *,
    top: int | None = None,
    seeds: int | None = None,
    folds: str | None = None,
    trials: Sequence[int] = (),
    auto: bool = False,
    runs: int | None = None,
    retry: bool = False,
) -> Replicated:
    """`lobtuna replicate`: queue the best configurations, or those of `trials`, under more seeds and on more folds.

    Raises `SearchError` where there are fewer complete configurations.
    """
    from search.study.named import replicate as queue

    url, name = _found(study, storage)
    return Replicated(
        queue(url, name, top=top, seeds=seeds, folds=folds, trials=trials, auto=auto, runs=runs, retry=retry)
    )


def refit(
    study: StudyLike,
    storage: str | None = None,
    *,
    top: int | None = None,
    seeds: int = 4,
    trials: Sequence[int] = (),
    with_report: bool = False,
    retry: bool = False,
) -> Refitted:
    """`lobtuna refit`: queue runs of the best configurations, or of those of `trials`, on all sequences but report.

    `work` trains them, `export(..., refit=True)` ships them. `with_report` trains on the report sequences too, and
    leaves nothing to judge the result by. Raises `SearchError` where there are fewer complete configurations.
    """
    from search.study.named import refit as queue

    url, name = _found(study, storage)
    return Refitted(queue(url, name, top=top, seeds=seeds, trials=trials, with_report=with_report, retry=retry))


def rank(study: StudyLike, storage: str | None = None) -> Ranked:
    """`lobtuna rank`: configurations by a seed-aware estimate. Raises `SearchError` where no run is complete."""
    from search.study.named import rank as ranked

    return Ranked(ranked(*_found(study, storage)))


def export(
    study: StudyLike,
    output: File = "submission.zip",
    storage: str | None = None,
    *,
    data: File | None = None,
    members: Sequence[Any] = (),
    **options: Any,
) -> Exported:
    """`lobtuna export`: write runs of a study as one submission, by default those whose average is expected to be best.

    `members` are runs or their names; `options` are the fields of `search.ship.export.Request`: `best`, `top`,
    `configurations`, `seeds`, `weights`, `max_mb`, `max_seconds`, `candidates`, `onnx`, `force`, ... Raises
    `SearchError` where runs are missing, `BundleError` where options, limits or data do not fit.
    """
    from search.ship.export import Request, ship

    url, name = _found(study, storage)
    names = tuple(member if isinstance(member, str) else member.name for member in members)
    folder = None if data is None else Path(data)
    return Exported(tuple(ship(url, name, Request(members=names, **options), Path(output), folder)))


def score(
    submissions: File | Sequence[File],
    data: File,
    *,
    sequences: int | None = None,
    bootstrap: int | None = None,
    champion: File | None = None,
    on: str | None = None,
    seed: int = 0,
) -> Scored:
    """`lobtuna score`: run submissions as the challenge would, in their own process, and compare several.

    Raises `ScoringError` where one breaks a rule of the challenge, `BundleError` for a file that is no zip.
    """
    from search.ship.score import score as run

    named = [submissions] if isinstance(submissions, (str, Path)) else submissions
    against = None if champion is None else Path(champion)
    options: dict[str, Any] = {"sequences": sequences, "bootstrap": bootstrap, "on": on, "seed": seed}
    return Scored(run([Path(path) for path in named], Path(data), champion=against, **options))


def plugin(file: File) -> Source:
    """Run a file with parts of yours, so that this process can train, load, export and score with them.

    What it registers is in `.declarations`, its SHA-256 in `.digest`. Raises `PluginError` for a mistake in it.
    """
    from lobmodels.plugins.loading import load_file

    return load_file(file)


def verify(submission: File, data: File, storage: str | None = None, *, sequences: int = 2) -> Verified:
    """`lobtuna verify`: compare a submission, row by row, with the trained networks; with `storage`, its weights with
    the stored ones. A check that fails is in the result; raises `BundleError` where the zip was changed."""
    from search.ship.verify import verify as run

    return Verified(run(Path(submission), Path(data), sequences=sequences, storage=storage))


def _found(study: StudyLike, storage: str | None) -> tuple[str, str]:
    """URL and name of a study."""
    return (study.url, study.name) if isinstance(study, Study) else (storage_url(storage), study)


def _spec(definition: Mapping[str, Any] | File) -> StudySpec:
    from search.studyfile.spec import StudySpec, load_spec

    if isinstance(definition, Mapping):
        return StudySpec.from_json(dict(definition))
    return load_spec(Path(definition))
