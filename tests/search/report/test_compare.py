"""Studies are compared at equal spending, paired by sequence, and a difference that was made is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import InMemoryStorage

from lobmodels.bootstrap import correlations, paired_difference, sequence_statistics
from search.errors import SearchError
from search.report.compare import Path, compare
from search.report.record import read_study
from search.study.record import ENSEMBLE
from search.study.reference import Reference, Score, store_reference
from search.studyfile.spec import StudySpec
from tests.made_study import SPEC, make_study

Floats = np.ndarray[Any, Any]


def forecasts(gains: tuple[float, ...], n: int = 60) -> list[Floats]:
    """Sums of one run for each gain, all of them on the same sequences; a higher gain scores higher."""
    y = np.random.default_rng(1).standard_t(3, (n, 50, 2))
    noise = [np.random.default_rng(10 + i).standard_normal(y.shape) for i in range(len(gains))]
    return [sequence_statistics(gain * y + e, y) for gain, e in zip(gains, noise, strict=True)]


@pytest.fixture(scope="module")
def pair() -> tuple[optuna.Study, optuna.Study]:
    """A study with replicates and a shorter one, on the same data."""
    storage = InMemoryStorage()
    first = make_study(storage, 80, replicates=(3, 3))
    return first, make_study(storage, 50, seed=3, spec=StudySpec.from_json(SPEC.to_json() | {"name": "wide"}))


def test_a_paired_difference_is_the_difference() -> None:
    """The value is that of the mean scores; the interval holds it, excludes zero for a clear gain and not for none."""
    a = forecasts((0.1, 0.1, 0.1))
    b = forecasts((0.6, 0.6))
    found = paired_difference(b, a)
    means = [np.mean([correlations(sums.sum(0)).mean() for sums in group]) for group in (a, b)]
    assert found.value == pytest.approx(means[1] - means[0])
    assert 0 < found.low < found.value < found.high and found.better > 0.99
    same = paired_difference(a, a)
    assert same.value == 0 and same.low < 0 < same.high


def test_pairing_takes_out_what_the_sequences_share() -> None:
    """Two runs that rise and fall together on each sequence are told apart better than their own intervals say."""
    y = np.random.default_rng(1).standard_t(3, (60, 50, 2))
    shared = np.random.default_rng(2).standard_normal(y.shape)
    a, b = (sequence_statistics(gain * y + shared, y) for gain in (0.5, 0.55))
    found = paired_difference([b], [a])
    apart = paired_difference([b[::-1].copy()], [a])
    assert found.high - found.low < 0.5 * (apart.high - apart.low)


def test_nine_in_ten_intervals_hold_the_truth() -> None:
    """Over 60 pairs of single runs of equal quality, most 90 % intervals hold zero."""
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = rng.standard_t(5, (40, 30, 2))
        a, b = (sequence_statistics(0.5 * y + rng.standard_normal(y.shape), y) for _ in range(2))
        found = paired_difference([a], [b])
        held += found.low <= 0 <= found.high
    assert 48 <= held <= 60


def test_equal_spending(pair: tuple[optuna.Study, optuna.Study]) -> None:
    """After so many hours or epochs each study has the best of the runs that had finished by then."""
    path = Path(read_study(pair[0]))
    for unit, each in (("hours", lambda t: t.seconds / 3600), ("epochs", lambda t: t.epochs)):
        amount = 0.4 * float(path.spent(unit)[-1])
        total, best = 0.0, None
        for trial in sorted(read_study(pair[0]).of("complete", "pruned", "failed"), key=lambda t: (t.end, t.number)):
            total += each(trial)
            if total > amount:
                break
            if trial.state == "complete" and (best is None or (trial.value or 0) > best.value):
                best = trial
        found = path.best_after(unit, amount)
        assert found is not None and best is not None and found.number == best.number
    assert path.best_after("hours", 0.0) is None


def test_side_by_side(pair: tuple[optuna.Study, optuna.Study]) -> None:
    """Every measure has each study once, at what the one that spent least has spent; all of it is in the table."""
    found = compare(pair)
    measures = list(dict.fromkeys(entry.measure for entry in found.entries))
    assert measures[:2] == ["best", "ensemble"] and len(measures) == 8
    assert [e.study for e in found.entries] == ["joint", "wide"] * 8
    least = min(float(Path(study).spent("epochs")[-1]) for study in found.studies)
    assert measures[-1] == f"after {least:,.0f} epochs"
    row = found.table().records()[0]
    ranked = found.studies[0].ranking.rows[0]
    assert (row["select"], row["select_low"], row["select_high"]) == (ranked.estimate, ranked.low, ranked.high)
    assert len(found.table().rows) == len(found.entries)


def test_ensembles_are_paired(pair: tuple[optuna.Study, optuna.Study]) -> None:
    """With the sums of both ensembles there is a difference with its interval; the reference has none to itself."""
    for study in pair:
        store_reference(study, ENSEMBLE, Reference(Score(0.3), Score(0.29, 0.28, 0.3), (f"{study.study_name}#0",)))
    a, b = forecasts((0.1, 0.6))
    found = compare(pair, {"joint": {"report": a}, "wide": {"report": b}})
    first, second = [entry for entry in found.entries if entry.measure == "ensemble"]
    assert first.difference is None and second.difference == paired_difference([b], [a])
    assert first.report == Score(0.29, 0.28, 0.3)


def test_what_cannot_be_paired_says_so(pair: tuple[optuna.Study, optuna.Study]) -> None:
    """Without sums, or on other data; and one study is no comparison."""
    assert any("kept its sums" in remark for remark in compare(pair).remarks)
    other = make_study(InMemoryStorage(), 20, spec=StudySpec.from_json(SPEC.to_json() | {"name": "other"}))
    other.set_user_attr("data_fingerprint", "0" * 16)
    assert compare([pair[0], other]).remarks == (
        "no differences: the studies have other data, or set other sequences aside",
    )
    for studies in ([pair[0]], [pair[0], pair[0]]):
        with pytest.raises(SearchError, match="two or more different studies"):
            compare(studies)
