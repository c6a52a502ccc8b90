"""Promises about what an ensemble is expected to gain: the formula against simulated members, and the choices."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.ship.best import best_average
from search.ship.gains import MEMBERS, Outlook, Predictions, by_configuration


def _outlook(quality: list[float], same: float, between: float) -> Outlook:
    correlation = np.full((len(quality), len(quality)), between)
    np.fill_diagonal(correlation, same)
    return Outlook(tuple(map(str, range(len(quality)))), np.array(quality), correlation)


def test_the_formula_is_what_averages_score() -> None:
    """Members drawn with these correlations; two seeds of one configuration and one of another."""
    seen, counts = _outlook([0.3, 0.2], 0.8, 0.5), np.array([2, 1])
    members = np.array([[1.0, 0.8, 0.5, 0.3], [0.8, 1.0, 0.5, 0.3], [0.5, 0.5, 1.0, 0.2], [0.3, 0.3, 0.2, 1.0]])
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(4), members, 200_000)
    found = np.corrcoef(drawn[:, :3].mean(1), drawn[:, 3])[0, 1]
    assert seen.expected(counts) == pytest.approx(found, abs=0.01)
    assert seen.expected(np.array([1, 0])) == pytest.approx(0.3)


def test_diversity_is_worth_more_than_seeds() -> None:
    """Of equal configurations each enters before any enters twice; a poor one stays out."""
    counts, value = _outlook([0.3, 0.3, 0.3, 0.05], 0.95, 0.6).best(np.array([3, 3, 3, 3]))
    assert counts[3] == 0 and counts[:3].min() >= 1
    assert value > 0.3
    assert counts.sum() <= MEMBERS


def test_the_next_seed_goes_where_seeds_differ_most() -> None:
    """Equal quality: the configuration whose runs agree least gains most from one more."""
    seen = _outlook([0.3, 0.3], 0.95, 0.7)
    seen.correlation[1, 1] = 0.6
    assert seen.next_seed(np.array([1, 1])) == 1
    assert _outlook([0.3, 0.1], 1.0, 1.0).next_seed(np.array([1, 1])) is None  # every run predicts the same


def test_correlations_of_runs_become_those_of_configurations() -> None:
    """The mean over pairs of different runs, as a loop over them gives."""
    rng, of = np.random.default_rng(1), np.array([0, 0, 0, 1, 1, 2])
    runs = np.corrcoef(rng.normal(size=(6, 50)))
    found = by_configuration(runs, of)
    for a in range(3):
        for b in range(3):
            pairs = [runs[i, j] for i in range(6) for j in range(6) if i != j and (of[i], of[j]) == (a, b)]
            if pairs:
                assert found[a, b] == pytest.approx(np.mean(pairs))
    assert found[2, 2] == pytest.approx((found[0, 0] + found[1, 1]) / 2)  # one run: the others' mean


class _Untouched:
    """Four sequences of six steps that hold no targets."""

    features, schema = np.zeros((4, 6, 3)), SimpleNamespace(warmup_steps=2, variable_length=False)
    fingerprint = "these"

    def __len__(self) -> int:
        return 4


def test_predictions_are_compared_without_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Correlations per target, averaged; each member predicts once; the data's targets are never touched."""
    rng = np.random.default_rng(2)
    raw = {name: rng.normal(size=(4, 6, 2)) for name in "ab"}
    asked: list[str] = []

    def member(name: str) -> Any:
        def predict(features: Any, device: str) -> Any:
            asked.append(name)
            return 3.0 * raw[name] + 1.0

        return SimpleNamespace(predict=predict, valid_fingerprint="these")

    monkeypatch.setattr("search.ship.gains.load_members", lambda _, runs: [member(run.name) for run in runs])
    predictions = Predictions(_Untouched())  # type: ignore[arg-type]
    runs = [SimpleNamespace(name=name) for name in "ab"]
    found = predictions.correlations(None, runs)  # type: ignore[arg-type]
    flat = {name: values[:, 2:].reshape(-1, 2) for name, values in raw.items()}
    expected = np.mean([np.corrcoef(flat["a"][:, k], flat["b"][:, k])[0, 1] for k in (0, 1)])
    assert found == pytest.approx(np.array([[1.0, expected], [expected, 1.0]]), abs=1e-6)
    predictions.correlations(None, runs)  # type: ignore[arg-type]
    assert asked == ["a", "b"]


def test_a_constant_run_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collapsed network correlates with nothing, and is as noisy as any other: no average prefers it."""
    rng = np.random.default_rng(3)
    rows = {"good": rng.normal(size=(4, 6, 2)), "flat": np.zeros((4, 6, 2))}

    def member(name: str) -> Any:
        return SimpleNamespace(predict=lambda *_: rows[name], valid_fingerprint="these")

    monkeypatch.setattr("search.ship.gains.load_members", lambda _, runs: [member(run.name) for run in runs])
    runs = [SimpleNamespace(name=name) for name in rows]
    found = Predictions(_Untouched()).correlations(None, runs)  # type: ignore[arg-type]
    assert found == pytest.approx(np.eye(2))
    assert best_average(np.array([0.3, 0.001]), found, 2, fewest=1) == [0]
