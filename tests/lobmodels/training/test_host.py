"""Large arrays come and go with their memory."""

import gc
from pathlib import Path

import pytest
import torch

from lobmodels.training.host import free_memory, own_pages

STATUS = Path("/proc/self/status")


def held() -> int:
    """Bytes of memory of its own that this process holds."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from Linux's /proc")
def test_own_pages_come_and_go() -> None:
    """A tensor of zeros that can be written; its memory is the process's only as long as the tensor lives."""
    size = 200 << 20
    before = held()
    x = own_pages(2, size // 8)
    assert x.shape == (2, size // 8) and x.dtype == torch.float32 and not x[:, ::4096].any()
    view = x[1].fill_(1.0)
    x[0].fill_(2.0)
    assert held() - before > 0.9 * size
    del x
    assert view[-1] == 1.0  # a view keeps the whole
    del view
    gc.collect()
    assert held() - before < 0.1 * size


def test_nothing_has_no_pages() -> None:
    """An empty part, such as report sequences that a study does not set aside, is an empty tensor."""
    assert own_pages(0, 1000, 42).shape == (0, 1000, 42)


def test_a_kernel_that_refuses_advice_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where huge pages cannot be asked for, the tensor has small ones."""
    monkeypatch.setattr("lobmodels.training.host.mmap.MADV_HUGEPAGE", 9999)  # as where there are none
    assert own_pages(3, 5).fill_(1.0).sum() == 15


def test_free_memory_is_a_number_of_bytes() -> None:
    """More than a process needs to start, less than any machine has."""
    assert 1 << 20 < free_memory(torch.device("cpu")) < 1 << 50
