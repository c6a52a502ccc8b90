"""What is said of best epochs is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search.report.factors import factors
from search.report.peaks import best_quarter, cut_off, section
from search.report.record import Study


def test_runs_cut_off_by_the_limit(known: Study) -> None:
    """Those that were ended by the number of epochs and were best in one of the last two."""
    run = replace(known.finished[0], reason="epochs")
    late, early = replace(run, best_epoch=run.epochs - 2), replace(run, best_epoch=run.epochs - 3)
    stopped = replace(late, reason="early_stopping")
    assert cut_off([late, early, stopped]) == [late]


def test_peaks_are_counted(known: Study) -> None:
    """The two bars together are the finished runs by best epoch; the dark one the best quarter."""
    runs = [t for t in known.finished if t.best_epoch is not None]
    top = best_quarter(runs)
    assert len(top) == round(len(runs) / 4)
    assert min(t.value for t in top) >= max(t.value for t in runs if t not in top)
    dark, other = section(known).figures[0].spec["data"]
    counts = np.bincount([t.best_epoch for t in runs], minlength=len(dark["y"]))
    np.testing.assert_array_equal(np.array(dark["y"]) + np.array(other["y"]), counts)
    assert sum(dark["y"]) == len(top)


def test_the_table_by_parameter(known: Study) -> None:
    """Every level of a parameter with its runs' median best epoch and best score: recomputed from the runs."""
    runs = [t for t in known.finished if t.best_epoch is not None]
    rows = {(row["parameter"], row["value"]): row for row in section(known).tables[0].records()}
    for factor in factors({name: known.searched[name] for name in ("lr", "hidden_size", "loss")}, runs):
        for level, label in enumerate(factor.labels):
            own = [t for t, i in zip(runs, factor.index, strict=True) if i == level]
            if own:
                row = rows[(factor.name, label)]
                assert row["runs"] == len(own) and row["best_score"] == max(t.value or 0.0 for t in own)
                assert row["median_peak"] == pytest.approx(np.median([t.best_epoch for t in own]))


def test_few_runs(known: Study) -> None:
    """Two finished runs describe nothing, and that is said."""
    assert "there are 2" in section(replace(known, trials=tuple(known.finished[:2]))).text
