"""Workers keep a study's note and plots in the dashboard up to date, about once a minute in all.

A worker that writes stores a new token in the study. A worker that has seen the same token for a whole period, by its
own clock, writes next. Clocks of different machines are never compared, so they may differ.
"""

from __future__ import annotations

import json
import logging
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage

from search.errors import SearchError
from search.report.failures import failures
from search.report.headline import INTERVALS, headline
from search.report.learning import curves_figure
from search.report.progress import trials_figure
from search.report.record import Study, hours, read_study
from search.report.seeds import ranking_figure
from search.report.style import Spec, plural, score, share
from search.study.open import load_study, spec_of
from search.study.ranking import RankedConfiguration, varying
from search.study.record import NOTE_WRITER
from search.study.reference import ensure_ridge
from search.study.replication import find_replicates
from search.studyfile.values import show
from storage.dashboard.note import save_note as store_note
from storage.errors import StorageError
from storage.optuna_internals import plot_key, storage_of, study_id_of

if TYPE_CHECKING:
    from lobmodels.data import Dataset

log = logging.getLogger(__name__)

PERIOD = 60.0  # seconds between two notes of one study, whatever the number of workers
YOURS = "*Workers rewrite this note. Save your own in its place and they leave it alone; these facts are then a plot.*"
EARLIER = "**Your own notes** (below this line; everything above it is rewritten by the workers)"
DOTS, CURVES, RANKED = 500, 25, 12  # what a plot in the database may hold
PARAMETERS = 4  # searched parameters shown of a configuration


class NoteKeeper:
    """Writes the note of one study whenever it is due. `start` does so in a thread until `stop`.

    `attributes` returns the study's user attributes as last read elsewhere; without it they are read from the storage.
    With `dataset`, the thread first scores a ridge regression on it, if no other worker has.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        worker: str,
        dataset: Dataset | None = None,
        *,
        period: float = PERIOD,
        attributes: Callable[[], Mapping[str, Any]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.storage, self.name, self.worker = storage, name, worker
        # Each worker has its own period, so that two that started together do not write together.
        self.period = period * random.uniform(1.0, 1.4)
        self.clock = clock
        self.dataset = dataset
        self.attributes = attributes or self._read_attributes
        self._token: str | None = ""  # the last one seen; None in the study: no worker has written yet
        self._since = clock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write in a background thread: training never waits for a note."""
        self._thread = threading.Thread(target=self._run, name="notes", daemon=True)
        self._thread.start()

    def stop(self, within: float = 10.0) -> None:
        """Write a last note and end the thread; waits at most `within` seconds."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=within)

    def tick(self) -> bool:
        """Write the note if it is due; returns whether it was."""
        found = self._found()
        if found is not None and found != self._token:
            self._token, self._since = found, self.clock()
            return False
        if found is not None and self.clock() - self._since < self.period:
            return False
        self.write()
        return True

    def write(self) -> None:
        """Write note and plots now. Raises `StorageError` or `SearchError`; the thread of `start` logs those."""
        study = load_study(self.storage, self.name)
        token = f"{self.worker}/{uuid.uuid4().hex[:8]}"
        study.set_user_attr(NOTE_WRITER, token)
        self._token, self._since = token, self.clock()
        write_note(study, self.worker)

    def _found(self) -> str | None:
        token = self.attributes().get(NOTE_WRITER)
        return None if token is None else str(token)

    def _read_attributes(self) -> Mapping[str, Any]:
        return self.storage.get_study_user_attrs(self.storage.get_study_id_from_name(self.name))

    def _run(self) -> None:
        self._guarded(self._score_ridge)
        while not self._ended.wait(self.period / 4):
            self._guarded(self.tick)
        self._guarded(self.write)

    def _score_ridge(self) -> None:
        if self.dataset is not None:
            study = load_study(self.storage, self.name)
            ensure_ridge(study, self.dataset, spec_of(study).validation)

    def _guarded(self, call: Callable[[], Any]) -> None:
        """Log an expected failure: a note that cannot be written must not stop the training."""
        try:
            call()
        except (StorageError, SearchError, KeyError, optuna.exceptions.OptunaError) as error:
            log.warning("the dashboard's note of %s was not written: %s", self.name, error)


def write_note(study: optuna.Study, worker: str = "") -> None:
    """Write the study's note, and its plots of progress, curves and ranking, for the dashboard to show."""
    record = read_study(study)
    if not save_note(study, note_text(record, worker)):
        save_plot(study, "overview", "Overview", _facts_figure(record))
    save_plot(study, "progress", "Progress", trials_figure(record, most=DOTS))
    if any(t.history for t in record.trials):
        save_plot(study, "learning-curves", "Learning curves", curves_figure(record, CURVES))
    if record.ranking.repeated:
        save_plot(study, "ranking", "Repeated configurations", ranking_figure(record.ranking.repeated[:RANKED]))
    seeds = find_replicates(study)
    if seeds is not None:
        words = f"Replicates of {plain(study.study_name)}: its best configurations under other seeds."
        save_note(seeds, f"# {plain(seeds.study_name)}\n\n{words}\n\n{_ranking(record)}")


def save_note(study: optuna.Study, text: str) -> bool:
    """Make `text` the study's note, unless somebody has written their own; returns whether it was stored."""
    return store_note(study, f"{text}\n\n{YOURS}\n", earlier=_is_earlier)


def _is_earlier(body: str) -> bool:
    """Whether an earlier lobtuna wrote all of a note: it left a place for the user's own words, which is empty."""
    return EARLIER in body and not body.partition(EARLIER)[2].strip()


def save_plot(study: optuna.Study, key: str, title: str, spec: Spec) -> None:
    """Keep a figure with the study under `key`, in one attribute, for the same reason."""
    layout = {**spec["layout"], "title": {"text": title, "x": 0.02, "font": {"size": 15}}, "paper_bgcolor": "#ffffff"}
    # The dashboard gives every plot a card of this height, and on a telephone one of 170 pixels' width.
    layout |= {"height": 450, "margin": {"t": 48, "l": 24, "r": 24, "b": 24}}
    layout["legend"] = {**layout["legend"], "y": -0.22, "yanchor": "top"}
    document = json.dumps({"data": spec["data"], "layout": layout}, allow_nan=False, separators=(",", ":"))
    storage_of(study).set_study_system_attr(study_id_of(study), plot_key(key), document)


def _facts_figure(study: Study) -> Spec:
    """The facts of the note as a table, for a study whose note is somebody's own."""
    names, values = zip(*_facts(study), strict=True)
    cells = {"values": [list(names), [text.replace("`", "") for text in values]], "align": "left"}
    table = {"type": "table", "columnwidth": [1, 4], "header": {"values": ["", ""], "height": 4}, "cells": cells}
    return {"data": [table], "layout": {"legend": {}}}


def note_text(study: Study, worker: str = "") -> str:
    """The note in Markdown. Names and questions are user input: nothing in them is read as Markdown or HTML."""
    parts = [
        f"# {plain(study.name)}",
        plain(study.spec.question),
        _first_lines(study),
        _table(_facts(study)),
        _join(study),
        _ranking(study),
    ]
    parts.append(_failed(study))
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    parts.append(f"*Updated {now}{f' by {plain(worker)}' if worker else ''}.*")
    return "\n\n".join(part for part in parts if part)


def _first_lines(study: Study) -> str:
    """The headline as Markdown: a table of scores, the budget, and what to do now."""
    first = headline(study)
    lines = ["| | selection | report | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(plain(cell) for cell in row)} |" for row in first.cells()]
    step = first.step
    now = f"**What now:** {plain(step.kind)}: {plain(step.reason)}. `{step.command}`"
    return "\n".join(lines) + f"\n\n{plain(INTERVALS)}\n\n**Budget:** {plain(first.budget)}\n\n{now}"


def _facts(study: Study) -> list[tuple[str, str]]:
    counts = [f"{len(study.of(state))} {state}" for state in ("complete", "pruned", "failed", "running", "waiting")]
    budget = study.spec.budget
    limits = [plural(budget.trials, "trial")] if budget.trials else []
    limits += [f"{budget.hours:g} hours"] if budget.hours else []
    limits += [f"until {budget.until:%Y-%m-%d %H:%M} UTC"] if budget.until else []
    facts = [
        ("trials", ", ".join(counts)),
        ("budget", ", ".join(limits) or "none"),
        (study.time_unit, f"{hours(study.trials):.1f}, and {hours(study.replicates):.1f} of replicates"),
        ("data", f"`{study.fingerprint}`" if study.fingerprint else "not bound yet: the first worker binds it"),
        ("validation", f"{share(1 - study.report_fraction)} of the sequences select, the rest only reports"),
    ]
    if study.ranking.noise is not None:
        facts.append(("seed", f"one run varies by {study.ranking.noise:.4f} under its seed"))
    return facts


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _join(study: Study) -> str:
    return (
        "## Join\n\n```sh\n"
        f"lobtuna work {study.name} --storage $LOBTUNA_STORAGE --data ~/lob\n"
        "```\n\nThe URL of the storage is all another machine needs; the data must be the same."
    )


def _ranking(study: Study) -> str:
    rows = study.ranking.rows[:RANKED]
    if not rows:
        return "## Ranking\n\nNo run is complete yet."
    names = varying(rows)[:PARAMETERS]
    head = ["", "trial", "runs", "estimate", "best run", "report", *map(plain, names)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {i} | {' | '.join(_cells(row, names))} |" for i, row in enumerate(rows, 1)]
    remark = (
        "Estimates are means shrunk by their noise; the best run is the luckiest one."
        if study.ranking.repeated
        else f"No configuration was repeated: this order is mostly luck. Next: `lobtuna replicate {study.name}`"
    )
    return f"## Ranking\n\nBy score on the selection sequences. {remark}\n\n" + "\n".join(lines)


def _failed(study: Study) -> str:
    """Why trials failed, the most frequent reason first; the dashboard shows each trial's own among its attributes."""
    found = failures(study)
    if not found:
        return ""
    lines = ["| trials | reason | first |", "|---|---|---|"]
    for failure in found[:RANKED]:
        first = failure.trials[0]
        lines.append(f"| {len(failure.trials)} | {plain(failure.example or failure.reason)} | {plain(first.name)} |")
    more = "" if len(found) <= RANKED else f"\n\nAnd {plural(len(found) - RANKED, 'other reason')}."
    return "## Failed\n\n" + "\n".join(lines) + more


def _cells(row: RankedConfiguration, names: Sequence[str]) -> list[str]:
    estimate = (
        "-"
        if row.estimate is None
        else f"{score(row.estimate)} ({score(row.low)}..{score(row.high)})".replace(" ", "\u00a0")
    )
    report = score(row.report[0]) if row.report else "-"
    values = [plain(show(row.configuration[n])) if n in row.configuration else "-" for n in names]
    return [
        str(row.trial if row.trial is not None else "-"),
        str(row.n),
        estimate,
        score(row.best_run.value),
        report,
        *values,
    ]


def plain(text: Any) -> str:
    """Text that Markdown shows literally: special characters are escaped, line breaks become spaces."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>&~$:])", r"\\\1", " ".join(str(text).split()))
