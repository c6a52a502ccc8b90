"""Every rule divides the sequences without overlap, everywhere alike; report sequences train and select nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lobmodels.data import SplitRule, validation_split
from lobmodels.data.partition import FOLDS, KINDS, REFIT, WALK_FORWARD
from lobmodels.errors import DataError, UnknownNameError

COUNTS = st.integers(6, 60)


def rules(fraction: float, folds: int, gap: int) -> list[SplitRule]:
    """Every rule, every fold of it."""
    several = [SplitRule(fraction, FOLDS, folds, k) for k in range(folds)]
    several += [SplitRule(fraction, WALK_FORWARD, folds, k, gap) for k in range(folds)]
    return [SplitRule(fraction), SplitRule(fraction, REFIT), *several]


@given(COUNTS, COUNTS, st.sampled_from([0.0, 0.25, 0.5]), st.integers(2, 4), st.integers(0, 2))
def test_report_sequences_are_set_aside_by_every_rule(
    train: int, valid: int, fraction: float, folds: int, gap: int
) -> None:
    """The roles never overlap, and the report sequences are those of the fixed split."""
    ids = np.arange(train), np.arange(valid)
    report = train + validation_split(valid, fraction)[1]
    for rule in rules(fraction, folds, gap):
        found = rule.partition(*ids)
        np.testing.assert_array_equal(found.report, report)
        together = np.concatenate([found.train, found.select, found.report])
        assert len(np.unique(together)) == len(together) and len(found.train)
        for part in (found.train, found.select):
            assert (np.diff(part) > 0).all()


@given(COUNTS, COUNTS, st.integers(2, 5))
def test_folds_are_disjoint_and_together_everything(train: int, valid: int, folds: int) -> None:
    """Each sequence that is not a report sequence selects in one fold and trains in all others; sizes differ by one,
    also those of each file's share."""
    ids = np.arange(train), np.arange(valid)
    parts = [SplitRule(0.25, FOLDS, folds, k).partition(*ids) for k in range(folds)]
    pool = np.sort(np.concatenate([part.select for part in parts]))
    np.testing.assert_array_equal(pool, SplitRule(0.25, REFIT).partition(*ids).train)
    for part in parts:
        np.testing.assert_array_equal(np.union1d(part.train, part.select), pool)
    for first, last in ((0, train + valid), (0, train), (train, train + valid)):
        sizes = [((part.select >= first) & (part.select < last)).sum() for part in parts]
        assert max(sizes) - min(sizes) <= 1


@given(st.integers(10, 60), st.integers(4, 40), st.integers(2, 4), st.integers(0, 2))
def test_walking_forward_never_looks_back(train: int, valid: int, folds: int, gap: int) -> None:
    """All of a run's train sequences lie before its selection sequences, with the gap between; fold 0 is the last."""
    ids = np.arange(train), np.arange(valid)
    pool = SplitRule(0.25, REFIT).partition(*ids).train
    parts = [SplitRule(0.25, WALK_FORWARD, folds, k, gap).partition(*ids) for k in range(folds)]
    for part in parts:
        between = pool[(pool > part.train[-1]) & (pool < part.select[0])]
        assert part.train[-1] < part.select[0] and len(between) == gap
        np.testing.assert_array_equal(part.train, pool[: len(part.train)])
    assert parts[0].select[-1] == pool[-1]
    assert all(later.select[0] > earlier.select[-1] for later, earlier in pairwise(parts))


def test_a_fold_is_a_matter_of_ids_alone() -> None:
    """A sequence's fold does not depend on where it stands in its file. Written down: a study's folds must mean the
    same sequences under every version."""
    ids = np.array([5, 3, 9, 1, 7, 11])
    there = SplitRule(0.0, FOLDS, 3, 1).partition(ids, np.array([2, 4]))
    turned = SplitRule(0.0, FOLDS, 3, 1).partition(ids[::-1], np.array([4, 2]))
    names = np.array([*ids, 102, 104])
    assert set(names[there.select]) == set(np.array([*ids[::-1], 104, 102])[turned.select])
    parts = [SplitRule(0.25, FOLDS, 4, k).partition(np.arange(6), np.arange(4)) for k in range(4)]
    assert [part.select.tolist() for part in parts] == [[1, 4, 7], [0, 3], [5, 8], [2, 9]]


def test_what_cannot_be_divided_is_refused() -> None:
    """Too many folds, a fold that is not there, a gap that leaves nothing, an unknown kind: each says what is wrong."""
    ids = np.arange(6), np.arange(4)
    for rule, said in (
        (SplitRule(0.25, FOLDS, 20), "9 sequences cannot be divided into 20 folds"),
        (SplitRule(0.25, FOLDS, 3, 3), "there is no fold 3"),
        (SplitRule(0.25, WALK_FORWARD, 2, 1, 9), "gap 9 leaves nothing to train on"),
    ):
        with pytest.raises(DataError, match=said):
            rule.partition(*ids)
    with pytest.raises(UnknownNameError, match="moonphase"):
        SplitRule(0.25, "moonphase").partition(*ids)


@pytest.mark.parametrize("kind", KINDS.names)
def test_rules_survive_their_documents(kind: str) -> None:
    """What a checkpoint stores is the rule; the fixed split stores nothing, as older versions did."""
    rule = SplitRule(0.25, kind, 4, 2, 1)
    document = rule.document()
    assert (document is None) == (kind == "fixed")
    assert document is None or SplitRule.of(0.25, document) == rule
