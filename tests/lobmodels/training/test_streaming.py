"""Streamed batches are the rows that were asked for, in order, whatever their number."""

import pytest
import torch

from lobmodels.training.streaming import streamed
from tests.lobmodels.training.fake_cuda import FakeCuda

GPU = torch.device("cuda:0")


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 8, 21])
def test_rows_arrive_in_order(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch, one, several, a last one that is smaller; two sources side by side; none waits for a computation."""
    x, y = torch.arange(90.0).view(30, 3), torch.arange(30.0)
    order = torch.randperm(30)[:rows]
    with FakeCuda(monkeypatch) as cuda:
        batches = list(streamed((x, y), order, 4, GPU, lambda a, b: (a * 2, b.clone())))
        assert cuda.syncs == []
        assert all(part.device == GPU for batch in batches for part in batch)
        assert [len(a) for a, _ in batches] == [len(part) for part in order.split(4) if len(part)]
        if rows:
            assert torch.equal(torch.cat([a for a, _ in batches]).cpu(), 2 * x[order])
            assert torch.equal(torch.cat([b for _, b in batches]).cpu(), y[order])


def test_an_abandoned_epoch_leaves_no_copy_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends in the middle of an epoch waits for the copies that were started: their memory is free then."""
    with FakeCuda(monkeypatch):
        batches = streamed((torch.zeros(30, 3),), torch.arange(30), 4, GPU, torch.clone)
        next(batches)
        batches.close()
        main = torch.cuda.current_stream(GPU)
        assert all(main.knows.get(stream, 0) == stream.knows[stream] for stream in main.streams.made)
