"""Lines through all parameters: each at its run's own values, the best apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.report.parallel import BESIDE, place, section
from search.report.record import Study
from search.studyfile.parameters import Choices, FloatRange, IntRange


def test_places_on_a_row() -> None:
    """Choices in their order, ranges from 0 to 1, logarithmic ones by ratio, `or` values beside; nothing otherwise."""
    log = FloatRange(**{"float": (1e-6, 1e-4), "log": True, "or": 0.0})  # type: ignore[arg-type]
    assert place(Choices(choices=("a", "b", "c")), "b") == 0.5
    assert place(IntRange(int=(8, 24), step=8), 16) == 0.5
    assert place(log, 1e-5) == pytest.approx(0.5) and place(log, 0.0) == BESIDE
    for value in (None, [1], "x"):
        assert place(log, value) is None
    assert place(Choices(choices=("a",)), "gone") is None


def test_every_line_is_a_run(known: Study) -> None:
    """As many lines as finished runs at most; the first row is the score, the others the searched parameters that
    differ, each run at its places."""
    figure = section(known).figures[0]
    rows = figure.spec["layout"]["yaxis"]["ticktext"]
    assert rows[0] == "score" and set(rows[1:]) <= set(known.searched)
    best = figure.spec["data"][1]
    first = max(known.finished, key=lambda t: t.value or 0.0)
    end = best["x"].index(None, len(rows))
    line = best["x"][:end]
    assert line[0] == pytest.approx(1.0)
    for name, at in zip(rows[1:], line[1:], strict=True):
        assert at == place(known.searched[name], first.configuration.get(name))
    assert f"the best {round(0.1 * len(known.finished))} of {len(known.finished)}" in figure.text
    labels = [note["text"].replace("<br>", "") for note in figure.spec["layout"]["annotations"]]
    assert {"0.0002", "0.003", "pearson_combined"} <= set(labels)


def test_few_runs_have_no_picture(known: Study) -> None:
    """Four lines compare nothing."""
    assert "too few lines" in section(replace(known, trials=tuple(known.finished[:4]))).text
