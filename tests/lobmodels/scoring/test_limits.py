"""Size and time limits: what is measured, and how many members they leave."""

from __future__ import annotations

import pytest

from lobmodels.errors import BundleError
from lobmodels.scoring.limits import members_within_time


def test_time_is_measured() -> None:
    """The measured cost of an ensemble is its start-up and a million and a half steps."""
    from lobmodels.ensemble.bundle import Bundle
    from lobmodels.scoring.limits import seconds_for_1500
    from tests.lobmodels.ensemble.made_runs import run

    assert 1.0 < seconds_for_1500(Bundle.of([run(hidden_size=4, num_layers=1)])) < 600


@pytest.mark.parametrize("fits", range(1, 8))
def test_the_largest_number_that_fits(monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    """Found for every possible answer, with few measurements, each of them at most once more than needed."""
    measured: list[int] = []

    def seconds(bundle: int) -> float:
        measured.append(bundle)
        return float(bundle)

    monkeypatch.setattr("lobmodels.scoring.limits.seconds_for_1500", seconds)
    assert members_within_time(lambda n: n, 7, fits + 0.5) == fits  # type: ignore[arg-type, return-value]
    assert len(measured) <= 4


def test_not_even_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the limit, what one member takes, and both arguments that would help."""
    monkeypatch.setattr("lobmodels.scoring.limits.seconds_for_1500", lambda bundle: 40.0)
    with pytest.raises(BundleError, match=r"max_seconds=30: it takes 40 s for 1,500 sequences; raise") as error:
        members_within_time(lambda n: n, 3, 30)  # type: ignore[arg-type, return-value]
    assert error.value.arguments == ("max_seconds", "members")
