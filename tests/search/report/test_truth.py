"""Figures and tables of a report are recomputed from the trials they are about; every interval holds its estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest

from search.report import Report
from search.report.effects import FEWEST, Effects
from search.report.effects import section as effects_section
from search.report.importance import importance
from search.report.importance import section as importance_section
from search.report.pairs import pairs
from search.report.pairs import section as pairs_section
from search.report.record import Study, read_study
from search.report.seeds import section as seeds_section
from search.report.sequences import _three, compare
from tests.search.report.test_sequences import scored


def test_the_table_of_effects(known: Study, found: Effects) -> None:
    """Runs and plain mean of each level are counted from the trials; the effect lies inside its interval."""
    rows = effects_section(known, found, None).tables[0].records()
    values = {t.number: v for t, v in zip(found.trials, found.values, strict=True)}
    for row in rows:
        factor = found.factors[found.of(row["parameter"])]  # type: ignore[index]
        level = factor.labels.index(row["level"])
        own = [t for t, i in zip(found.trials, factor.index, strict=True) if i == level]
        assert row["runs"] == len(own)
        assert row["plain_mean"] == pytest.approx(np.mean([values[t.number] for t in own]))
        assert row["effect_low"] <= row["effect"] <= row["effect_high"]
    assert sum(row["runs"] for row in rows if row["parameter"] == "lr") == len(found.trials)


def test_the_figure_of_an_effect(known: Study, found: Effects) -> None:
    """The line goes through mean plus effect at the median of each level's values, inside its band; dots are runs."""
    figure = next(f for f in effects_section(known, found, None).figures if f.title == "lr")
    i = found.of("lr")
    assert i is not None
    factor, effect = found.factors[i], found.model.effects[i]
    traces: dict[str, dict[str, Any]] = {trace["name"]: trace for trace in figure.spec["data"]}
    shown = [level for level in range(len(factor.labels)) if factor.counts[level] >= FEWEST]
    assert traces["effect"]["x"] == pytest.approx([factor.centers[level] for level in shown])
    assert traces["effect"]["y"] == pytest.approx(found.model.mean + effect[shown], rel=1e-5)
    band = traces["interval"]["y"]
    high, low = band[: len(shown)], band[len(shown) :][::-1]
    assert all(a <= y <= b for a, y, b in zip(low, traces["effect"]["y"], high, strict=True))
    drawn = dict(zip(traces["complete"]["x"], traces["complete"]["y"], strict=True))
    for trial in known.finished[:20]:
        if trial.configuration["lr"] in drawn:
            assert drawn[trial.configuration["lr"]] == pytest.approx(trial.value, rel=1e-5)


def test_the_effect_is_the_true_one(found: Effects) -> None:
    """Between the two ends of lr and its middle the estimated effect is that of the formula the scores were made by."""
    i = found.of("lr")
    assert i is not None
    factor, effect = found.factors[i], found.model.effects[i]
    truth = np.zeros(len(factor.labels))
    for level in range(len(truth)):
        own = [t for t, at in zip(found.trials, factor.index, strict=True) if at == level]
        lr = np.array([t.configuration["lr"] for t in own])
        truth[level] = np.mean(-0.018 * (np.log10(lr) - np.log10(9e-4)) ** 2 / 0.1)
    counts = factor.counts
    truth -= truth @ counts / counts.sum()
    assert effect == pytest.approx(truth, abs=0.004)


def test_importance_and_its_chance(known: Study) -> None:
    """The bars are the table's values; each lies inside its interval, and all together are the whole."""
    result = importance(known)
    assert result is not None
    rows = importance_section(known, result).tables[0].records()
    bars = importance_section(known, result).figures[0].spec["data"][0]
    assert bars["x"][::-1] == pytest.approx([row["importance"] for row in rows], abs=1e-5)
    assert sum(row["importance"] for row in rows) == pytest.approx(1)
    for row in rows:
        assert row["low"] <= row["importance"] <= row["high"]
        assert row["beyond_chance"] == (row["low"] > row["by_chance"])


def test_maps_of_pairs(found: Effects) -> None:
    """Each cell is the mean of its runs, blank below three; the number of runs stands in it."""
    looked = pairs(found, None)
    section = pairs_section(found, looked)
    for figure, pair in zip(
        section.figures, [p for p in looked if p.strength > p.by_chance][:4] or looked[:2], strict=True
    ):
        trace = figure.spec["data"][0]
        for a in range(len(pair.first.labels)):
            for b in range(len(pair.second.labels)):
                inside = (pair.first.index == a) & (pair.second.index == b)
                count = int(inside.sum())
                cell = trace["z"][a][b]
                assert (cell is None) == (count < FEWEST)
                if cell is not None:
                    assert cell == pytest.approx(found.values[inside].mean())
                    assert trace["text"][a][b].endswith(f"n={count}")


def test_the_table_of_seeds(study: optuna.Study) -> None:
    """Means, spreads and report scores are those of the runs; estimates lie inside their intervals; probabilities of
    being the best sum to one."""
    record = read_study(study)
    table = seeds_section(record).tables[0].records()
    total = 0.0
    for row, ranked in zip(table, record.ranking.repeated, strict=True):
        values = [run.value for run in ranked.runs]
        report = [run.report["mean"] for run in ranked.runs]
        assert row["mean"] == pytest.approx(np.mean(values)) and row["sd"] == pytest.approx(np.std(values, ddof=1))
        assert row["report mean"] == pytest.approx(np.mean(report))
        assert row["low"] <= row["estimate"] <= row["high"] and row["runs"] == len(values)
        total += row["P(best)"]
    assert total == pytest.approx(1, abs=0.01)


def test_intervals_of_selection_and_report_hold_the_truth(known: Study) -> None:
    """Over 60 simulated studies with known luck of the chosen, the 80 % interval holds it in most; none excludes its
    own estimate."""
    rng = np.random.default_rng(8)

    def draw(runs: int) -> tuple[np.ndarray, np.ndarray]:
        worth = rng.normal(0.25, 0.01, runs)
        return worth + rng.normal(0, 0.005, runs), worth + rng.normal(0, 0.005, runs)

    truth = np.mean([_three(*draw(60), 6) for _ in range(400)], axis=0)  # what 60 such runs show in the mean
    held = np.zeros(3)
    for _ in range(60):
        found = compare(scored(known, *draw(60)))
        for i, (estimate, ends) in enumerate(
            (
                (found.luck, found.luck_ends),
                (found.correlation, found.correlation_ends),
                (found.slope, found.slope_ends),
            )
        ):
            assert ends[0] <= estimate <= ends[1]
            held[i] += ends[0] <= truth[i] <= ends[1]
    assert (held / 60 >= 0.65).all() and (held / 60 <= 0.97).all(), held


def test_every_interval_of_the_files(report: Report) -> None:
    """In every table with low and high, the value between them lies between them."""
    pairs_of = (("effect", "effect_low", "effect_high"), ("importance", "low", "high"), ("estimate", "low", "high"))
    checked = 0
    for section in report.page.sections:
        for table in section.tables:
            for value, low, high in pairs_of:
                if {value, low, high} <= set(table.columns):
                    for row in table.records():
                        if row[low] is not None:
                            assert row[low] <= row[value] <= row[high], (table.name, row)
                            checked += 1
    assert checked > 40
