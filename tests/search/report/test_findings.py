"""Whether the report finds what is true: studies of a known truth, and studies in which nothing matters."""

import numpy as np
import optuna
import pytest
from optuna.storages import InMemoryStorage

from search.report.effects import Effects, effects
from search.report.factors import factors, fit
from search.report.importance import _importances, importance
from search.report.nextstudy import next_study
from search.report.numbers import credited, interval, ranks, spearman
from search.report.pairs import pairs
from search.report.pruning import foresight, savings
from search.report.ranges import advise
from search.report.record import Study, read_study
from search.studyfile.spec import StudySpec
from tests.made_study import SPEC, make_study


@pytest.fixture(scope="module")
def known() -> Study:
    """300 trials whose truth is `made_study.true_score`: lr first, then loss; dropout nothing."""
    return read_study(make_study(InMemoryStorage(), 300))


@pytest.fixture(scope="module")
def found(known: Study) -> Effects:
    result = effects(known)
    assert result is not None
    return result


def shuffled(known: Study) -> Study:
    """The same trials, their scores dealt out anew: nothing matters."""
    study = read_study(make_study(InMemoryStorage(), 300, failures=0))
    order = np.random.default_rng(5).permutation(len(study.scored))
    values = [study.scored[int(i)].value for i in order]
    for trial, value in zip(study.scored, values, strict=True):
        object.__setattr__(trial, "value", value)
    return study


def test_importance_finds_the_learning_rate(known: Study) -> None:
    """The parameter that matters most leads and lies beyond chance; one without effect does not."""
    result = importance(known)
    assert result is not None
    assert result.names[0] == "lr"
    sure = result.beyond_chance()
    assert "lr" in sure
    assert "dropout" not in sure
    assert "pearson_alpha" not in sure
    assert result.values.sum() == pytest.approx(1)
    assert (result.low <= result.values).all()
    assert (result.values <= result.high).all()


def test_importance_of_nothing(known: Study) -> None:
    """Where scores are dealt out at random, hardly a parameter is said to matter."""
    result = importance(shuffled(known))
    assert result is not None
    assert len(result.beyond_chance()) <= 2  # of eleven, each with a chance of one in ten to look so


def test_importance_is_optunas(known: Study) -> None:
    """Without resampling, the numbers are those of Optuna's own evaluator."""
    study = optuna.create_study(direction="maximize")
    trials = [t.frozen for t in known.finished]
    study.add_trials(trials)
    ours = _importances(study.trials, np.array([t.value for t in study.trials]), list(known.searched))
    theirs = optuna.importance.get_param_importances(study, normalize=False)
    expected = [theirs.get(name, 0.0) + theirs.get(f"{name}.or", 0.0) for name in known.searched]
    assert ours == pytest.approx(expected)


def test_too_few_runs_for_importance() -> None:
    """Nothing is computed from a handful of runs."""
    assert importance(read_study(make_study(InMemoryStorage(), 10))) is None


def test_effects_are_free_of_the_company_they_kept() -> None:
    """Two parameters that move together: the additive model gives the effect to the one that has it."""
    rng = np.random.default_rng(0)
    study = read_study(make_study(InMemoryStorage(), 300, failures=0))
    trials, _ = credited(study)
    chosen = [f for f in factors(study.searched, trials) if f.name in ("loss", "input_block")]
    loss = next(f for f in chosen if f.name == "loss")
    block = next(f for f in chosen if f.name == "input_block")
    together = np.where(rng.random(len(trials)) < 0.85, loss.index == 0, rng.random(len(trials)) < 0.5)
    object.__setattr__(block, "index", together.astype(np.int64))
    values = 0.25 + 0.01 * (loss.index == 0) + rng.normal(0, 0.003, len(trials))
    model = fit(values, chosen)
    at = {factor.name: i for i, factor in enumerate(chosen)}
    own = model.effects[at["loss"]]
    other = model.effects[at["input_block"]]
    assert own[0] - own[1:].mean() == pytest.approx(0.01, abs=0.002)
    assert abs(other[1] - other[0]) < 0.0015
    plain = values[block.index == 1].mean() - values[block.index == 0].mean()
    assert plain > 0.004  # what a plain average would have said


def test_effects_find_the_best_learning_rate(found: Effects) -> None:
    """The level around the true optimum of lr is the best, surely; the ends are surely worse."""
    i = found.of("lr")
    assert i is not None
    factor, effect, samples = found.factors[i], found.model.effects[i], found.model.samples[i]
    best = int(np.argmax(effect))
    assert 5e-4 < (factor.centers[best] or 0) < 1.4e-3
    low, _ = interval(samples[:, best] - samples[:, 0], 0.9)
    assert low > 0.005
    assert 0.3 < found.model.explained < 0.95


def test_effects_of_nothing(known: Study) -> None:
    """Where scores are dealt out at random, the model predicts nothing of runs left out."""
    result = effects(shuffled(known))
    assert result is not None
    assert result.model.explained < 0.05


def test_pairs_find_what_acts_together() -> None:
    """An interaction is found among all pairs, and none where there is none."""
    study = read_study(make_study(InMemoryStorage(), 300, failures=0))
    trials, values = credited(study)
    found_factors = factors(study.searched, trials)
    by_name = {f.name: f for f in found_factors}
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.004, len(trials))
    crossed = (by_name["loss"].index == 0) ^ (by_name["derived"].index == 0)
    for strength, expected in ((0.012, True), (0.0, False)):
        scores = 0.25 + strength * crossed + noise
        object.__setattr__(study, "trials", study.trials)
        looked = pairs(Effects(tuple(trials), scores, tuple(found_factors), fit(scores, found_factors)), None)
        first = looked[0]
        assert (first.strength > first.by_chance) is expected
        if expected:
            assert {first.first.name, first.second.name} == {"loss", "derived"}
    assert len(values) == len(trials)


def test_pruned_runs_are_credited(known: Study) -> None:
    """A pruned run counts with what finished runs still gained after its last epoch, and never with less than its "
    "own."""
    trials, values = credited(known)
    for trial, value in zip(trials, values, strict=True):
        assert trial.value is not None
        assert value == trial.value if trial.state == "complete" else value >= trial.value
    gains = [v - (t.value or 0) for t, v in zip(trials, values, strict=True) if t.state == "pruned" and t.epochs == 11]
    later = [t.best_so_far[-1] - t.best_so_far[10] for t in known.finished if t.epochs > 11]
    assert gains[0] == pytest.approx(float(np.median(later)))


def test_savings_by_hand(known: Study) -> None:
    """Epochs saved are the median further epochs of finished runs that got as far, summed over the pruned ones."""
    result = savings(known)
    assert result is not None
    lengths = np.array([t.epochs for t in known.of("complete")])
    pruned = known.of("pruned")
    expected = sum(
        float(np.median(lengths[lengths > t.epochs])) - t.epochs for t in pruned if (lengths > t.epochs).any()
    )
    assert result.epochs_saved == pytest.approx(expected)
    assert result.epochs_run == sum(t.epochs for t in pruned)
    assert 0 < result.hours_saved < 10


def test_foresight_grows(known: Study) -> None:
    """The order of runs is known better later: at the last epoch completely."""
    result = foresight(known)
    assert result is not None
    assert result.order[-1] > 0.95 > result.order[0]
    assert result.best_below_median[-1] == 0


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
    study = shuffled(known)
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


def test_what_depends_on_a_dropped_choice_goes_with_it(known: Study, found: Effects) -> None:
    """When only mse is left, the parameters of the other losses are gone from the file."""
    following = next_study(known, found)
    losses = {a.name: a for a in following.advice}["loss"].next
    assert "pearson_combined" not in str(losses)
    assert "pearson_alpha" not in following.text


def test_few_trials_change_nothing() -> None:
    """From a handful of runs the ranges stay, and the file says so by saying nothing."""
    study = read_study(make_study(InMemoryStorage(), 15))
    following = next_study(study, effects(study))
    assert not any(a.changed for a in following.advice)
    assert "the same ranges" in following.text


def test_ranks_and_rank_correlation() -> None:
    """Ties share their mean rank; order alone decides the correlation."""
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(a, np.exp(a)) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert np.isnan(spearman(a, np.ones(4)))
