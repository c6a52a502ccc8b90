"""Every trial in a table: the best on the page, all in a file, and every epoch in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.report.page import PageTable, Section
from search.report.record import Study, Trial

SHOWN = 20


def section(study: Study) -> Section:
    """The best runs with the parameters that were searched."""
    everything = [*study.trials, *study.replicates]
    best = sorted(study.finished, key=lambda t: -(t.value or 0.0))
    varied = [name for name in study.searched if len({repr(t.configuration.get(name)) for t in best[:SHOWN]}) > 1]
    targets = study.schema.targets
    rows = [_brief(t, targets, varied) for t in best[:SHOWN]]
    columns = ["trial", "select", "report", *targets, "best epoch (from 0)", "epochs trained", *varied]
    title = "Trials"
    tables = [
        PageTable(
            "best_runs",
            columns,
            rows,
            "The best finished runs, with the parameters in which they differ",
            SHOWN,
            sequences="both",
        )
    ]
    tables += [_all(study, everything), _epochs(everything)]
    if not rows:
        return Section("trials", title, "No run is complete yet.", tables=tables[1:])
    same = [
        f"{n}={best[0].configuration.get(n)}" for n in study.searched if n not in varied and n in best[0].configuration
    ]
    text = f"All of these have {', '.join(same)}." if same and len(rows) > 1 else ""
    return Section("trials", title, text, tables=tables)


def _brief(trial: Trial, targets: Sequence[str], names: list[str]) -> list[Any]:
    values = [trial.configuration.get(name) for name in names]
    report, select = trial.report.get("mean"), trial.select
    return [
        trial.number,
        trial.value,
        report,
        *(select.get(target) for target in targets),
        trial.best_epoch,
        trial.epochs,
        *values,
    ]


def _all(study: Study, trials: list[Trial]) -> PageTable:
    parts = ("mean", *study.schema.targets)
    head = ["study", "trial", "state", *(f"{split}_{part}" for split in ("select", "report") for part in parts)]
    head += ["best_epoch", "epochs_trained", "seed", "seconds", "seconds_per_epoch", "worker", "device", "start", "end"]
    head += ["reason", "imported_from", "parent"]
    names = list(dict.fromkeys(name for t in trials for name in t.configuration))
    titles = [f"parameter {name}" if name in head else name for name in names]  # of trials that others made
    rows = []
    for t in trials:
        scores: list[Any] = [t.value, *(t.select.get(part) for part in parts[1:])]
        scores += [t.report.get(part) for part in parts]
        times = [None if moment is None else moment.isoformat(timespec="seconds") for moment in (t.start, t.end)]
        row = [t.study, t.number, t.state, *scores, t.best_epoch, t.epochs, t.seed, t.seconds, t.seconds_per_epoch]
        row += [t.worker, t.device, *times, t.reason, t.imported, t.parent]
        rows.append([*row, *(t.configuration.get(name) for name in names)])
    return PageTable("trials", [*head, *titles], rows, on_page=False)


def _epochs(trials: list[Trial]) -> PageTable:
    names = list(dict.fromkeys(name for t in trials for record in t.history for name in record))
    names = [name for name in names if name not in ("study", "trial")]
    rows = [[t.study, t.number, *(record.get(n) for n in names)] for t in trials for record in t.history]
    return PageTable("epochs", ["study", "trial", *names], rows, on_page=False)
