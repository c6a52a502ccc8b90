"""A run draws its own numbers, and disturbs nobody else's."""

import pytest
import torch

from lobmodels.training.randomness import RandomStream

CPU = torch.device("cpu")


def test_a_stream_is_that_of_its_seed() -> None:
    """Two streams of one seed and stage give the same numbers, in turn or not; other seeds and stages others."""
    a, b, c, d = (RandomStream(CPU) for _ in range(4))
    for stream, seed, stage in ((a, 5, 1), (b, 5, 1), (c, 6, 1), (d, 5, 2)):
        stream.seed(seed, stage)
    with a.drawing():
        whole = torch.rand(6)
    parts = []
    for _ in range(3):
        for stream in (b, c, d):
            with stream.drawing():
                drawn = torch.rand(2)
            if stream is b:
                parts.append(drawn)
            assert (stream is b) or not torch.equal(drawn, parts[-1])
    assert torch.equal(torch.cat(parts), whole)


def test_the_process_goes_on_undisturbed() -> None:
    """The process's own numbers are those it would have drawn, also after an error inside."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    stream = RandomStream(CPU)
    stream.seed(0, 0)
    with pytest.raises(KeyError), stream.drawing():
        torch.rand(5)
        raise KeyError
    assert torch.equal(torch.rand(3), expected)


def test_an_unseeded_stream_is_refused() -> None:
    """Nothing is drawn from a stream that was given no seed."""
    with pytest.raises(RuntimeError, match="not seeded"), RandomStream(CPU).drawing():
        pass
