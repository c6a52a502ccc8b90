"""Promises of recorded steps, with a recording that computes again in the place of a GPU's graph."""

import logging
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lobmodels.training.recording import WARM, Made, RecordedStep, Replay
from tests.lobmodels.training.fake_cuda import recomputed

SIZE, SEQUENCES = 3, 11


class Recording:
    """`recomputed`, with a list of its calls."""

    def __init__(self) -> None:
        self.calls = list[str]()

    def __call__(self, compute: Callable[[], Made]) -> tuple[Made, Replay]:
        self.calls.append("recorded")
        made, again = recomputed(compute)

        def replay() -> None:
            self.calls.append("replayed")
            again()

        return made, replay


class Regression:
    """A linear regression by gradient steps: `gradients(index)` as a run's."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(SEQUENCES, 4, generator=generator)
        self.y = torch.randn(SEQUENCES, 1, generator=generator)
        self.model = nn.Linear(4, 1)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.zero_()
        self.parameters = list(self.model.parameters())

    def gradients(self, index: Tensor) -> Tensor:
        loss = (self.model(self.x[index]) - self.y[index]).square().mean()
        loss.backward()
        return loss.detach()

    def train(self, step: RecordedStep | None, epochs: int = 3) -> list[float]:
        losses = []
        for epoch in range(epochs):
            order = torch.randperm(SEQUENCES, generator=torch.Generator().manual_seed(epoch))
            for index in order.split(SIZE):
                losses.append(float(self.gradients(index) if step is None else step(self.gradients, index)))
                with torch.no_grad():
                    for parameter in self.parameters:
                        assert parameter.grad is not None
                        parameter -= 0.1 * parameter.grad
                        parameter.grad = None
        return losses


def test_a_recorded_run_is_the_run() -> None:
    """Losses and weights are those of the run that computes each step anew, over whole and short batches in turn."""
    plain, recorded = Regression(), Regression()
    recording = Recording()
    assert recorded.train(RecordedStep(recorded.parameters, SIZE, recording)) == plain.train(None)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters, recorded.parameters, strict=True))
    whole = 3 * (SEQUENCES // SIZE)
    assert recording.calls == ["recorded"] + ["replayed"] * (whole - WARM)


def test_a_step_that_cannot_be_recorded_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    """One warning, no second try, and the run is what it is without recording."""
    plain, run, tries = Regression(), Regression(), list[int]()

    def fails(compute: Callable[[], Made]) -> tuple[Made, Replay]:
        tries.append(1)
        compute()
        raise RuntimeError("operation not permitted when stream is capturing")

    with caplog.at_level(logging.WARNING):
        assert run.train(RecordedStep(run.parameters, SIZE, fails)) == plain.train(None)
    assert tries == [1] and len(caplog.records) == 1 and "not permitted" in caplog.text


def test_the_memory_of_a_run_is_free_with_the_run() -> None:
    """A recorded step holds no reference to the function that computes, and so none to its run."""
    run = Regression()
    step = RecordedStep(run.parameters, SIZE, lambda compute: (compute(), lambda: None))
    run.train(step)
    dropped = weakref.ref(run)
    del run
    assert dropped() is None and step.replay is not None
