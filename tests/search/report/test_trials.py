"""The table of trials holds every trial, replicate and epoch."""

import csv
import io

import optuna

from search.report import Report


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
