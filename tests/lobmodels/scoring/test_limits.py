"""Size and time limits: what is measured, and how many members they leave."""

from __future__ import annotations


def test_time_is_measured() -> None:
    """The measured cost of an ensemble is its start-up and a million and a half steps."""
    from lobmodels.ensemble.bundle import Bundle
    from lobmodels.scoring.limits import seconds_for_1500
    from tests.lobmodels.ensemble.made_runs import run

    assert 1.0 < seconds_for_1500(Bundle.of([run(hidden_size=4, num_layers=1)])) < 600
