"""Learning curves are those of the trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lobmodels.schema import LOB
from search.report.learning import curves_figure, curves_section
from search.report.record import Study


def test_every_curve_is_drawn_as_it_was(known: Study) -> None:
    """A line for each kind, its runs apart; the thick line is the best run's scores."""
    traces = {trace["name"]: trace for trace in curves_figure(known, most=1000)["data"]}
    for name, state in (("pruned", "pruned"), ("finished", "complete")):
        drawn = [y for y in traces[name]["y"] if y is not None]
        expected = [mean for trial in known.of(state) for mean in trial.means]
        np.testing.assert_allclose(drawn, expected, rtol=1e-5)
        assert traces[name]["y"].count(None) == len(known.of(state))
    best = known.best
    assert best is not None
    np.testing.assert_allclose(traces[f"best: trial {best.number}"]["y"], best.means, rtol=1e-5)


def test_many_curves_are_thinned_by_score(known: Study) -> None:
    """At most so many of a kind, the best and the worst among them."""
    finished = next(trace for trace in curves_figure(known, most=5)["data"] if trace["name"] == "finished")
    assert finished["y"].count(None) == 5
    ends = sorted(trial.value for trial in known.finished)
    tops = [max(filter(None, part)) for part in runs_of(finished["y"])]
    np.testing.assert_allclose([min(tops), max(tops)], [ends[0], ends[-1]], rtol=1e-5)


def runs_of(y: list) -> list[list]:
    """The parts of a line between its gaps."""
    parts: list[list] = [[]]
    for value in y[:-1]:
        parts.append([]) if value is None else parts[-1].append(value)
    return parts


def test_nothing_to_show(known: Study) -> None:
    """Without an epoch the section says so."""
    assert curves_section(replace(known, trials=(), replicates=())).text == "No trial has finished an epoch yet."


def test_curves_of_the_targets(known: Study) -> None:
    """t0 and t1 of the best quarter at most, the thick lines those of the best run."""
    figure = curves_section(known).figures[-1]
    traces = {trace["name"]: trace for trace in figure.spec["data"]}
    best = known.best
    assert best is not None and figure.title == "t0 and t1 over epochs"
    for target in ("t0", "t1"):
        expected = [record[target] for record in best.history]
        np.testing.assert_allclose(traces[f"{target} of trial {best.number}"]["y"], expected, rtol=1e-5)
        assert traces[target]["y"].count(None) == 20


def test_curves_of_one_target(known: Study) -> None:
    """Named by the data's target, and nothing is said of two."""
    figure = curves_section(replace(known, schema=replace(LOB, targets=("t0",)))).figures[-1]
    assert figure.title == "t0 over epochs" and "the two" not in figure.text
