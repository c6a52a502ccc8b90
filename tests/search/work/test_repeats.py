"""Failures in a row for one reason are told from failures among others."""

from search.work.repeats import MOST, Repeats


def test_numbers_do_not_make_another_reason() -> None:
    """The last of so many failures in a row says so; the same failure with other numbers counts."""
    repeats = Repeats()
    assert [repeats.add("failed", f"no memory: {i}.5 GiB") for i in range(MOST)] == [False] * (MOST - 1) + [True]


def test_another_reason_or_a_good_trial_starts_the_count_anew() -> None:
    """Neither unlike failures nor trials that end well are held against a worker."""
    repeats = Repeats()
    ends = [("failed", "a")] * (MOST - 1) + [("complete", "")] + [("failed", "a")] * (MOST - 1) + [("failed", "b")]
    assert not any(repeats.add(state, reason) for state, reason in ends)
    assert not any(repeats.add("complete", "") for _ in range(2 * MOST))
