"""How many runs at once are fastest: measured with real runs, and chosen with care for memory."""

import math
from itertools import pairwise
from typing import Any

import pytest

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.errors import DeviceMemoryError
from lobmodels.training import throughput
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from lobmodels.training.throughput import at_once, best_of, described, epoch_seconds
from lobmodels.training.turns import Job


def result(job: Job[Any]) -> Any:
    """What a job returns."""
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 4.0, 2: 2.0, 4: 1.0, 8: 0.9}, 8),
        ({1: 4.0, 2: 2.0, 4: 1.0, 8: 0.99}, 4),
        ({1: 4.0, 2: 2.0, 4: math.inf}, 2),
        ({1: 1.0, 2: 1.1}, 1),
        ({1: math.inf}, 1),
        ({1: 1.0, 2: 0.97, 4: 0.5}, 4),
    ],
)
def test_the_smallest_number_that_none_beats(seconds: dict[int, float], best: int) -> None:
    """More at once only where that is faster by more than the noise; what does not fit is never chosen."""
    assert best_of(seconds) == best


def test_it_stops_where_more_are_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or where memory is too small; the numbers before are kept."""
    asked: list[int] = []

    def measured(config: Any, data: Any, count: int) -> Job[float]:
        asked.append(count)
        yield
        if count == 4:
            raise DeviceMemoryError("out of memory on cuda:0")
        return 8.0 / count

    monkeypatch.setattr(throughput, "epoch_seconds", measured)
    data = type("Data", (), {"device": type("Device", (), {"type": "cpu"})})
    found = result(at_once(None, data))  # type: ignore[arg-type]
    assert asked == [1, 2, 4] and found == {1: 8.0, 2: 4.0, 4: math.inf} and best_of(found) == 2
    assert "1: 8.00 s, 2: 4.00 s, 4: no memory; 2 train at once" in described(found)
    assert result(at_once(None, data, most=2)) == {1: 8.0, 2: 4.0}  # type: ignore[arg-type]


def test_real_runs_are_measured(small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs at once on a CPU take about as long a run as one, whatever the schedule: steps do take turns there."""
    config = RunConfig.parse({"hidden_size": 4, "batch_size": 8, "epochs": 1, "scheduler": "onecycle"})
    data = RunData.prepare(small_dataset, config)
    steps: list[int] = []
    step = TrainingRun._step
    monkeypatch.setattr(TrainingRun, "_step", lambda run, *batch: steps.append(run.seed) or step(run, *batch))
    one, two = (result(epoch_seconds(config, data, count, least=0.2)) for count in (1, 2))
    assert one > 0 and two > 0
    pairs = steps[-10:]
    assert all(a != b for a, b in pairwise(pairs))
