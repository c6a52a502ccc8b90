"""Weights are an average: of these members, finite, not negative, with the sum 1 for each target."""

import numpy as np
import pytest

from lobmodels.ensemble.weights import check_weights, valid_weights
from lobmodels.errors import BundleError
from tests.lobmodels.ensemble.made_runs import run


def test_uniform_where_none_are_given() -> None:
    """One weight a member counts for each target."""
    members = [run("a#0"), run("a#1", 1)]
    assert valid_weights(members, None).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert valid_weights(members, [0.25, 0.75]).tolist() == [[0.25, 0.25], [0.75, 0.75]]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.5, 0.0], r"weights of shape \(3,\) for 2 members"),
        ([0.5, 0.6], r"weights sum to \[1\.1, 1\.1\] for t0 and t1"),
        ([np.nan, 1.0], "weights are finite and not negative"),
        ([-0.5, 1.5], "weights are finite and not negative"),
    ],
)
def test_what_is_no_average(weights: list[float], message: str) -> None:
    """Each is one clear line; the sum is told with the names of the targets."""
    with pytest.raises(BundleError, match=message):
        valid_weights([run("a#0"), run("a#1", 1)], weights)


def test_members_of_one_name() -> None:
    """No member, and one that is named twice, are no ensemble."""
    with pytest.raises(BundleError, match="named twice: a#0"):
        valid_weights([run("a#0"), run("a#0", 1)], None)
    with pytest.raises(BundleError, match="at least one member"):
        valid_weights([], None)
    with pytest.raises(BundleError, match="sum to"):
        check_weights(np.array([[0.5]]), ["a#0"], ("move",))
