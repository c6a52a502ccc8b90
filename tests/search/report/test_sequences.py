"""Selection against report scores: made relations are found, and none where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search.report.record import Study, Trial
from search.report.sequences import compare, report_section


def scored(known: Study, select: np.ndarray, report: np.ndarray) -> list[Trial]:
    """Runs with these scores on both kinds of sequences."""
    pairs = zip(known.finished, select.tolist(), report.tolist(), strict=False)
    return [replace(trial, value=a, report={"mean": b}) for trial, a, b in pairs]


def test_an_exact_relation(known: Study) -> None:
    """Report scores half as far apart and .05 lower: the slope, the gap and the order say so, without luck."""
    select = np.linspace(0.1, 0.3, 60)
    found = compare(scored(known, select, 0.5 * select + 0.05))
    assert found.slope == pytest.approx(0.5) and found.correlation == pytest.approx(1)
    assert found.gap == pytest.approx((0.5 * select - 0.05).mean())
    assert found.order[:3] == (59, 58, 57) and found.count == 6


def test_luck_of_the_chosen(known: Study) -> None:
    """Equal runs under noise: the best by selection lose what they were lucky by; nothing is predicted."""
    rng = np.random.default_rng(3)
    select, report = 0.25 + 0.01 * rng.standard_normal((2, 100))
    found = compare(scored(known, select, report))
    best = np.argsort(-select)[: found.count]
    assert found.luck == pytest.approx((select - report)[best].mean() - (select - report).mean())
    assert 0.01 < found.luck < 0.025 and found.luck_ends[0] > 0
    assert found.correlation_ends[0] < 0.1


def test_the_section_says_it(known: Study) -> None:
    """The table has every run with both scores; a confirmed order and an unconfirmed one are told apart."""
    select = np.linspace(0.1, 0.3, 60)
    noise = np.random.default_rng(0).standard_normal(60)
    ordered = report_section(replace(known, trials=tuple(scored(known, select, select))))
    assert len(ordered.tables[0].rows) == 60 and "as selection does" in ordered.finding
    random = report_section(replace(known, trials=tuple(scored(known, select, 0.2 + 0.01 * noise))))
    assert "do not confirm the order" in random.finding


def test_too_few_or_none(known: Study) -> None:
    """Four runs are too few; a study that sets nothing aside cannot tell."""
    four = tuple(scored(known, np.ones(4), np.ones(4)))
    assert "too few to compare" in report_section(replace(known, trials=four)).text
    validation = known.spec.validation.model_copy(update={"report_fraction": 0.0})
    spec = known.spec.model_copy(update={"validation": validation})
    assert "keeps no validation sequences apart" in report_section(replace(known, spec=spec)).text
