"""Devices that the checks of this folder run on: a real GPU with `make gpu`; in every test run one made of host memory,
in small sizes, so that the checks work at the first try where there is a real one."""

import gc
from collections.abc import Iterator

import pytest
import torch

from lobmodels.device import resolve_device
from tests.lobmodels.training.fake_cuda import FakeCuda

REAL = pytest.param("real", marks=[pytest.mark.gpu, pytest.mark.timeout(600)])


# `make gpu` runs these checks where they say something; that they can run at all is a long check.
LONG = pytest.mark.parametrize("gpu", [pytest.param("fake", marks=pytest.mark.soak), REAL], indirect=True)


@pytest.fixture(params=["fake", REAL])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """`fake`, a GPU made of host memory, or `real`, which skips where there is none."""
    if request.param == "fake":
        with FakeCuda(monkeypatch):
            yield resolve_device("cuda")
        return
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} finds no GPU here")
    yield resolve_device("cuda")
    gc.collect()
    torch.cuda.empty_cache()  # blocks that one test's streams keep are of no use to another's


@pytest.fixture
def is_real(request: pytest.FixtureRequest) -> bool:
    """Whether this is a check on a real GPU, with sizes to match."""
    return request.node.get_closest_marker("gpu") is not None
