"""Recommended ranges follow the truth where it is known, and change nothing where nothing matters."""

from optuna.storages import InMemoryStorage

from search.report.effects import Effects, effects
from search.report.ranges import advise
from search.report.record import Study, read_study
from search.studyfile.spec import StudySpec
from tests.made_study import SPEC, make_study
from tests.search.report.known_study import shuffled


def test_advice_follows_the_truth(known: Study, found: Effects) -> None:
    """lr is narrowed around its optimum, the worst loss dropped; dropout, which does nothing, keeps its range."""
    advice = {a.name: a for a in advise(known.spec.parameters, found, [])}
    low, high = advice["lr"].next.bounds  # type: ignore[union-attr]
    assert 2e-4 < low < 9e-4 < high < 3e-3
    assert not advice["dropout"].changed
    assert "pearson_combined" not in str(advice["loss"].next)
    assert "kept" in advice["dropout"].why
    for item in advice.values():
        assert item.why


def test_advice_of_nothing(known: Study) -> None:
    """Where scores are dealt out at random, hardly anything is changed."""
    study = shuffled()
    advice = advise(study.spec.parameters, effects(study), [])
    assert sum(a.changed for a in advice) <= 1


def test_the_best_stay_inside(known: Study, found: Effects) -> None:
    """However far off the bulk, a configuration that is to be a baseline stays in every range."""
    odd = {"lr": 2.1e-4, "loss": "pearson_combined", "dropout": 0.0, "hidden_size": 160, "weight_decay": 0.0}
    for item in advise(known.spec.parameters, found, [odd]):
        if item.name in odd:
            assert item.next.contains(odd[item.name]), item


def test_a_range_that_is_too_narrow_is_widened() -> None:
    """Where the best runs crowd at an end, the next study looks beyond it, within what the parameter allows."""
    document = SPEC.to_json()
    document["parameters"] |= {"lr": {"float": [2e-4, 6e-4], "log": True}}
    study = read_study(make_study(InMemoryStorage(), 250, spec=StudySpec.from_json(document), failures=0))
    advice = {a.name: a for a in advise(study.spec.parameters, effects(study), [])}
    assert advice["lr"].next.bounds[1] > 6.5e-4  # type: ignore[union-attr]
    assert "widened" in advice["lr"].why
    assert advice["num_layers"].next.bounds[0] >= 1  # type: ignore[union-attr]
