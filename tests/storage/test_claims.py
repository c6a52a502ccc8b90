"""Promises of claims and batches: what travels as JSON arrives as it was, and two batches in turn equal their merge."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from storage.claims import FRUITLESS, LOSSES, NOBODY, Batch, Claim, Losses, lost_reason

attributes = st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=3)
batches = st.builds(
    Batch,
    params=st.dictionaries(
        st.sampled_from("xyz"),
        st.sampled_from([(0.5, FloatDistribution(0, 1)), (1.0, CategoricalDistribution(["a", None]))]),
    ),
    intermediate=st.dictionaries(st.integers(0, 5), st.floats(allow_nan=False), max_size=4),
    user_attrs=attributes,
    system_attrs=attributes,
    state=st.sampled_from([None, TrialState.WAITING, TrialState.FAIL, TrialState.COMPLETE]),
    values=st.sampled_from([None, [0.5]]),
)


@given(batches)
def test_a_batch_travels_as_json(batch: Batch) -> None:
    """Distributions, steps and states included."""
    assert Batch.from_json(json.loads(json.dumps(batch.to_json()))) == batch


def test_infinite_reports_travel() -> None:
    """JSON has no infinity of its own; Python's does."""
    batch = Batch(intermediate={0: math.inf})
    assert Batch.from_json(json.loads(json.dumps(batch.to_json()))).intermediate == {0: math.inf}


@given(batches, batches)
def test_the_later_write_counts(first: Batch, later: Batch) -> None:
    """Merged, the later batch's entries replace the earlier one's; its state counts only where it has one."""
    merged = Batch()
    merged.merge(first)
    merged.merge(later)
    assert merged.user_attrs == {**first.user_attrs, **later.user_attrs}
    assert merged.intermediate == {**first.intermediate, **later.intermediate}
    ended = later if later.state is not None else first
    if ended.state is not None:
        assert (merged.state, merged.values) == (ended.state, ended.values)


def test_an_empty_batch_is_false() -> None:
    """Anything to be written makes a batch true, a state alone as well."""
    assert not Batch()
    assert Batch(state=TrialState.FAIL)
    assert Batch(user_attrs={"a": None})


def test_a_claim_is_read_from_what_was_stored() -> None:
    """From JSON text, a mapping or nothing; a renewed claim has the worker and another token."""
    claim = Claim("host:1", grace=5.0)
    assert Claim.from_json(claim.to_json()) == Claim.from_json(json.dumps(claim.to_json())) == claim
    assert Claim.from_json(None) is None
    renewed = claim.renewed()
    assert (renewed.worker, renewed.grace) == ("host:1", 5.0)
    assert renewed.token != claim.token


def test_the_reason_names_the_last_worker() -> None:
    """What `status` shows of a trial that was given up."""
    assert lost_reason("host:1", 4) == "given up: 4 workers vanished while they ran it, the last was host:1"
    assert "without a claim, and without a new report for 60 minutes" in lost_reason(NOBODY, 1)


def test_progress_resets_the_count_of_losses() -> None:
    """A trial is given up after losses at the same step, not for being long; attempts are counted all the same."""
    losses = Losses.of({})
    for step in (-1, 0, 5, 9):
        losses = losses.one_more(step)
    assert (losses.total, losses.fruitless) == (4, 1)
    losses = losses.one_more(9)
    assert (losses.total, losses.fruitless) == (5, 2)
    assert losses.one_more(3).fruitless == 3, "it was further before"
    assert losses.taken_back("host:1", 2).state == TrialState.WAITING
    assert losses.taken_back("host:1", 1).state == TrialState.FAIL
    assert Losses.of(losses.to_attributes()) == losses


def test_losses_of_an_earlier_version_count() -> None:
    """Earlier versions stored the total alone: all of them count as fruitless."""
    assert Losses.of({LOSSES: 2}) == Losses(2, 2, -1)
    assert Losses.of({LOSSES: 2, FRUITLESS: [1, 4]}) == Losses(2, 1, 4)
