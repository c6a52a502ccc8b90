"""Promises of the GPU's kernels that a CPU can check: the formulas, the widths, and what happens where they fail."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lobmodels.networks import gpu_recurrent
from lobmodels.networks.gpu_recurrent import TOLERANCE, groups, gru_on_gpu, shared_memory, usable_kernels

ROOT = Path(__file__).parents[3]
GPU = torch.device("cuda", 0)
PRESENT = ("triton", "triton.runtime", "lobmodels.networks.gpu_kernels")


def test_the_kernels_compute_torchs_gru() -> None:
    """Outputs and all gradients in float32 are those of `nn.GRU`, of one step and of many, whatever part of a block is
    filled; in half precision they are near it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lobmodels.networks.interpreted"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == 5
    for case in cases:
        assert max(case["errors"]) < 2e-5, case
        assert 0 < case["half"] < TOLERANCE / 5, case


def test_groups_hold_the_columns() -> None:
    """Powers of two of at least 16, together no fewer than the hidden size, and for the sizes in use few more."""
    for size in range(1, 257):
        first, second = groups(size)
        assert first + second >= size and first >= 16
        assert all(width & (width - 1) == 0 and (width == 0 or width >= 16) for width in (first, second))
    assert [groups(size) for size in (6, 36, 64, 96, 128, 144, 192)] == [
        (16, 0), (64, 0), (64, 0), (128, 0), (128, 0), (128, 16), (128, 64)
    ]  # fmt: skip
    assert shared_memory(128) == 114688 < 166912 < shared_memory(160)  # what Triton asks for, and an A100 has


@pytest.fixture(autouse=True)
def _afresh() -> None:
    usable_kernels.cache_clear()


def _gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], memory: int, error: float | Exception) -> None:
    """A GPU that has this much shared memory, and on which the kernels are wrong by `error`, or raise it."""

    def judged(*_: object) -> float:
        if isinstance(error, Exception):
            raise error
        return error

    driver = SimpleNamespace(
        active=SimpleNamespace(utils=SimpleNamespace(get_device_properties=lambda _: {"max_shared_mem": memory}))
    )
    for name in PRESENT:
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(driver=driver))
    monkeypatch.setattr("lobmodels.networks.gpu_kernels", sys.modules[PRESENT[-1]], raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(gpu_recurrent, "largest_error", judged)


@pytest.mark.parametrize(
    "capability, memory, error, usable, told",
    [
        ((9, 0), 1 << 20, 1e-3, True, ""),
        ((7, 5), 1 << 20, 1e-3, False, ""),  # a T4: not tried
        ((8, 6), 1 << 15, 1e-3, False, ""),  # too little shared memory for 144 units
        ((9, 0), 1 << 20, 0.3, False, "wrong by 0.3 for hidden_size 144"),
        ((9, 0), 1 << 20, float("nan"), False, "wrong by nan"),
        ((9, 0), 1 << 20, RuntimeError("no C compiler"), False, "RuntimeError: no C compiler"),
    ],
)
def test_cudnn_computes_where_the_kernels_cannot(
    capability: tuple[int, int],
    memory: int,
    error: float | Exception,
    usable: bool,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each GPU and size is judged once, before the first use; a failure or a wrong result is told once."""
    _gpu(monkeypatch, capability, memory, error)
    with caplog.at_level(logging.WARNING):
        found = [usable_kernels(144, GPU) for _ in range(2)]
    assert found == ([sys.modules[PRESENT[-1]]] * 2 if usable else [None, None])
    assert len(caplog.records) == bool(told) and told in caplog.text


def test_a_full_gpu_is_not_a_broken_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lack of memory ends the run as it does elsewhere, and the kernels are judged again at the next."""
    _gpu(monkeypatch, (9, 0), 1 << 20, torch.OutOfMemoryError("CUDA out of memory"))
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            usable_kernels(144, GPU)


def test_the_stack_falls_back_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without kernels the outputs are those of the module itself."""
    monkeypatch.setattr(gpu_recurrent, "usable_kernels", lambda *_: None)
    network, x = nn.GRU(3, 6, 2), torch.randn(5, 4, 3)
    assert torch.equal(gru_on_gpu(network, x), network(x)[0])
