"""Promises of one further replicate: the next seed, up to a number, and one for each draw."""

import optuna

from search.study.further import repeat
from search.study.record import DRAW, is_duplicate
from search.study.replication import choose, find_replicates


def _queued(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    target = find_replicates(study)
    assert target is not None
    return [trial for trial in target.get_trials() if not is_duplicate(trial)]


def test_each_call_takes_the_next_seed_up_to_a_number(study: optuna.Study) -> None:
    """The same seeds for every configuration; none past the number, and none of a trial that is not complete."""
    first, second = (run.number for run in choose(study)[:2])
    assert [repeat(study, first, 2) for _ in range(3)] == [True, True, False]
    assert repeat(study, second, 2) and not repeat(study, 10_000, 2)
    seeds = [(trial.user_attrs["parent"], trial.user_attrs["seed"]) for trial in _queued(study)]
    assert seeds == [(first, seeds[0][1]), (first, seeds[0][1] + 1), (second, seeds[0][1])]


def test_two_draws_at_the_same_moment_get_two_replicates(study: optuna.Study, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The later of two equal replicates is withdrawn; its draw then queues the next seed."""
    import search.study.further as further

    number = choose(study)[0].number
    enqueue, done = further.enqueue_replicate, []

    def beside_another(*arguments) -> None:  # type: ignore[no-untyped-def]
        if not done:
            done.append(True)
            enqueue(*arguments[:-1], 101)  # another worker's draw, a moment before
        enqueue(*arguments)

    monkeypatch.setattr(further, "enqueue_replicate", beside_another)
    assert repeat(study, number, 4, draw=102)
    assert [trial.user_attrs[DRAW] for trial in _queued(study)] == [101, 102]
    assert len({trial.user_attrs["seed"] for trial in _queued(study)}) == 2
