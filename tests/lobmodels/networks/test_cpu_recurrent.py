"""The compiled layers are nn.GRU and nn.LSTM: same outputs, same gradients, same dropout, on any number of threads."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lobmodels.networks import cpu_recurrent
from lobmodels.networks.cpu_recurrent import compiled_kernels, recurrent_on_cpu

CELLS = pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])


@pytest.fixture
def threads() -> Iterator[None]:
    """Torch's number of threads is put back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def results(stack: nn.Module, run, x: Tensor, weight: Tensor) -> list[Tensor]:  # type: ignore[no-untyped-def]
    """Outputs, and the gradients by x and every parameter of their sum weighted by `weight`."""
    stack.zero_grad()
    x = x.detach().requires_grad_()
    y = run(x)
    (y * weight).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad.clone() for p in stack.parameters() if p.grad is not None)]


def close(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    """Largest difference of each tensor, relative to its largest number."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a.double() - b).abs().max() <= tolerance * max(float(b.abs().max()), 1e-3)


def compared(cell: type, steps: int, batch: int, inputs: int, hidden: int, layers: int, seed: int = 0) -> None:
    torch.manual_seed(seed)
    stack = cell(inputs, hidden, layers)
    x, weight = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)
    ours = results(stack, lambda x: recurrent_on_cpu(stack, x), x, weight)
    stack.double()
    close(ours, results(stack, lambda x: stack(x)[0], x.double(), weight.double()), 1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([nn.GRU, nn.LSTM]),
    st.integers(1, 20),
    st.sampled_from([1, 3, 7, 8, 17, 33, 65]),
    st.sampled_from([1, 2, 15, 16, 17, 32, 42, 65]),
    st.sampled_from([1, 3, 16, 17, 31, 32, 65, 144]),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_equals_double_precision(
    cell: type, steps: int, batch: int, inputs: int, hidden: int, layers: int, seed: int
) -> None:
    """Outputs and every gradient agree with torch in double precision to 1e-5, whatever the shape."""
    assert compiled_kernels() is not None
    compared(cell, steps, batch, inputs, hidden, layers, seed)


@CELLS
@pytest.mark.parametrize(
    ("batch", "hidden"),
    [(32, 64), (192, 16), *(pytest.param(*shape, marks=pytest.mark.soak) for shape in ((256, 24), (16, 192)))],
)
def test_equals_double_precision_over_long_sequences(cell: type, batch: int, hidden: int) -> None:
    """Sums over a thousand steps and a whole batch keep their digits."""
    compared(cell, 1000, batch, 32, hidden, 1)


@CELLS
def test_gradient_is_true(cell: type) -> None:
    """Gradients equal finite differences, without torch's backward pass as the judge."""
    torch.manual_seed(0)
    stack, x, weight = cell(3, 5), torch.randn(6, 2, 3), torch.randn(6, 2, 5)
    gradients = results(stack, lambda x: recurrent_on_cpu(stack, x), x, weight)[2:]
    stack.double()
    step = 1e-6
    for parameter, gradient in zip(stack.parameters(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * direction
                values.append(float((stack(x.double())[0] * weight).sum()))
                parameter -= sign * step * direction
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float((gradient * direction).sum()), rel=1e-4)


@CELLS
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [2, 8])
def test_dropout_between_layers(cell: type, training: bool, batch: int) -> None:
    """Dropout acts between layers while training, draws the same mask as torch's, and is off in evaluation."""
    stack, x = cell(3, 8, 3, dropout=0.5).train(training), torch.randn(12, batch, 3)
    torch.manual_seed(1)
    theirs = stack(x)[0]
    torch.manual_seed(1)
    torch.testing.assert_close(recurrent_on_cpu(stack, x), theirs, rtol=0, atol=1e-5)


@CELLS
def test_same_bits_on_any_number_of_threads(cell: type, threads: None) -> None:
    """Outputs and gradients of a batch of several tiles do not change by a bit with the threads, nor between calls."""
    torch.manual_seed(2)
    stack, x, weight = cell(10, 20, 2), torch.randn(50, 100, 10), torch.randn(50, 100, 20)
    every = []
    for count in (1, 1, 2, 4):
        torch.set_num_threads(count)
        every.append(results(stack, lambda x: recurrent_on_cpu(stack, x), x, weight))
    for other in every[1:]:
        assert all(torch.equal(a, b) for a, b in zip(every[0], other, strict=True))


@CELLS
def test_without_gradient(cell: type) -> None:
    """Without gradients the outputs are the same bits, and nothing is kept for a backward pass."""
    stack, x = cell(4, 6, 2), torch.randn(30, 9, 4)
    y = recurrent_on_cpu(stack, x)
    assert y.requires_grad
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            quiet = recurrent_on_cpu(stack, x)
            assert quiet.grad_fn is None and torch.equal(quiet, y)


def test_inputs_that_need_no_gradient_get_none() -> None:
    """The product for the input's gradient is spared where nobody asks for it."""
    stack = nn.GRU(4, 6)
    x = torch.randn(5, 3, 4)
    recurrent_on_cpu(stack, x).sum().backward()
    assert x.grad is None and all(p.grad is not None for p in stack.parameters())


@CELLS
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_run_shows(cell: type, value: float) -> None:
    """NaN in an input reaches the outputs and gradients of its row, and no other row; infinity does no more."""
    stack, x = cell(4, 6), torch.randn(5, 20, 4)
    x[2, 3, 1] = value
    y = recurrent_on_cpu(stack, x)
    others = [b for b in range(20) if b != 3]
    torch.testing.assert_close(y[:, others], stack(x)[0][:, others], rtol=0, atol=1e-5)
    if value != value:
        assert y[2:, 3].isnan().all()
        y.sum().backward()
        assert all(p.grad is not None and p.grad.isnan().any() for p in stack.parameters())


@CELLS
def test_large_inputs_saturate(cell: type) -> None:
    """Gates far outside the range of tanh are ±1 and 0 or 1, as torch's."""
    stack, x = cell(4, 6), 1e4 * torch.randn(5, 8, 4)
    torch.testing.assert_close(recurrent_on_cpu(stack, x), stack(x)[0], rtol=0, atol=1e-5)


def test_strided_inputs_and_gradients() -> None:
    """Views, and a gradient that is one number expanded, are read as what they are."""
    stack = nn.LSTM(4, 6)
    x = torch.randn(16, 10, 8)[:, ::2, ::2].transpose(0, 1).transpose(0, 1).requires_grad_()
    recurrent_on_cpu(stack, x).sum().backward()
    ours = [p.grad.clone() for p in stack.parameters() if p.grad is not None]
    stack.zero_grad()
    stack(x)[0].sum().backward()
    close(ours, [p.grad.double() for p in stack.parameters() if p.grad is not None], 1e-5)


def test_other_types_are_left_to_torch() -> None:
    """Double precision is computed in double precision; under autocast torch decides."""
    for stack in (nn.GRU(3, 4).double(), nn.LSTM(3, 4).double()):
        x = torch.randn(5, 2, 3, dtype=torch.float64)
        torch.testing.assert_close(recurrent_on_cpu(stack, x), stack(x)[0], rtol=0, atol=1e-12)
    stack = nn.LSTM(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert recurrent_on_cpu(stack, torch.randn(5, 2, 3)).dtype == torch.bfloat16


@CELLS
def test_falls_back_to_torch(cell: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Without numba torch computes the same, and the log says so once."""
    stack, x, weight = cell(5, 7, 2), torch.randn(9, 4, 5), torch.randn(9, 4, 7)
    compiled = results(stack, lambda x: recurrent_on_cpu(stack, x), x, weight)
    compiled_kernels.cache_clear()
    for name in ("cpu_cache", "cpu_kernels"):
        monkeypatch.delitem(sys.modules, f"lobmodels.networks.{name}", raising=False)
        monkeypatch.delattr(f"lobmodels.networks.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    try:
        with caplog.at_level(logging.WARNING, cpu_recurrent.__name__):
            by_torch = [results(stack, lambda x: recurrent_on_cpu(stack, x), x, weight) for _ in range(2)]
    finally:
        compiled_kernels.cache_clear()
    close(compiled, [tensor.double() for tensor in by_torch[0]], 1e-5)
    assert caplog.text.count("CPU kernels cannot be used") == 1


def test_numba_waits_for_the_first_use() -> None:
    """Importing the networks, and building one, does not import numba; the first sequence does."""
    code = (
        "import sys, torch\n"
        "from lobmodels.config import RunConfig\n"
        "from lobmodels.networks import build_network\n"
        "network = build_network(RunConfig.parse({'hidden_size': 16}), 5)\n"
        "assert 'numba' not in sys.modules\n"
        "network(torch.randn(3, 2, 5))\n"
        "assert 'numba' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_interpreter_is_free_meanwhile() -> None:
    """Other Python threads, such as a heartbeat, run while a layer is computed."""
    kernels = compiled_kernels()
    shapes = ((200, 32, 8), (8 * 64,), (16 * 64,), (64,), (200, 32, 16), (0, 32, 64), (0, 32, 16))
    arrays = [torch.zeros(shape).numpy() for shape in shapes]
    inside, seen = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: inside.wait() and seen.set())
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e3)  # a thread gets the interpreter only when another lets go of it
    try:
        inside.set()
        end = time.monotonic() + 300.0
        while not seen.is_set() and time.monotonic() < end:  # on a busy machine a thread may wait for a core
            kernels.forward(kernels.LSTM, 64, *arrays, 0, 32)
        ran = seen.is_set()
    finally:
        sys.setswitchinterval(interval)
    thread.join()
    assert ran
