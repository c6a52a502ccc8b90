"""The table of trials holds every trial, replicate and epoch."""

import csv
import io
from dataclasses import replace

import optuna

from search.report import Report
from search.report.record import Study
from search.report.trials import section
from search.studyfile.parameters import IntRange


def test_tables_are_complete(study: optuna.Study, report: Report) -> None:
    """trials.csv has every trial and replicate, epochs.csv every epoch, unrounded."""
    rows = list(csv.DictReader(io.StringIO(report.files["trials.csv"])))
    assert len(rows) == 150 + 12
    first = study.trials[0]
    assert float(rows[0]["select_mean"]) == first.value
    assert rows[0]["lr"] == str(first.user_attrs["configuration"]["lr"])
    epochs = list(csv.DictReader(io.StringIO(report.files["epochs.csv"])))
    assert len([r for r in epochs if r["trial"] == "0" and r["study"] == "joint"]) == len(first.user_attrs["history"])
    for name in ("importance", "effects", "ranges", "ranking", "workers", "failures", "pairs", "targets", "foresight"):
        assert report.files[f"{name}.csv"].count("\n") > 1, name


def test_epochs_trained_are_not_the_limit(known: Study) -> None:
    """A study that searches its epoch limit has both in each table, under names of their own."""
    parameters = {**known.spec.parameters, "epochs": IntRange(int=(20, 40))}
    spec = known.spec.model_copy(update={"parameters": parameters})
    trials = [replace(t, configuration={**t.configuration, "epochs": 20 + t.number % 20}) for t in known.trials]
    tables = {table.name: table for table in section(replace(known, spec=spec, trials=tuple(trials))).tables}
    for name in ("trials", "best_runs"):
        columns = list(tables[name].columns)
        assert len(columns) == len(set(columns)) and "epochs" in columns
    for trial, row in zip(trials, tables["trials"].records(), strict=True):
        assert row["epochs_trained"] == len(trial.history) and row["epochs"] == 20 + trial.number % 20
    best = max((t for t in trials if t.state == "complete"), key=lambda t: t.value or 0.0)
    first = tables["best_runs"].records()[0]
    assert (first["trial"], first["epochs trained"], first["t0"]) == (best.number, best.epochs, best.select["t0"])


def test_a_foreign_parameter_keeps_its_column(known: Study) -> None:
    """A trial of other software whose parameter is called as one of our columns costs no report."""
    trials = (replace(known.trials[0], configuration={"seconds": 3, "state": "x"}), *known.trials[1:])
    table = section(replace(known, trials=trials)).tables[1]
    assert {"seconds", "parameter seconds", "parameter state"} <= set(table.columns)
