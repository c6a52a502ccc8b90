"""A device is resolved once to the name its tensors say; what cannot be used is refused in one line."""

import weakref
from pathlib import Path

import pytest
import torch

from lobmodels.device import float32_arithmetic, memory_errors, resolve_device, select_device
from lobmodels.errors import DeviceError, DeviceMemoryError
from search.cli import main
from tests.machines import create, small_study

T4 = {"capability": (7, 5), "built": ["sm_70", "sm_75", "sm_80", "sm_90", "compute_90"]}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Two GPUs, the second of them current, as torch describes them. The test may change the description."""
    described = {**T4, "current": 1, "chosen": []}
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "current_device": lambda: described["current"],
        "get_arch_list": lambda: described["built"],
        "get_device_capability": lambda index: described["capability"],
        "get_device_name": lambda index: "Tesla Q",
        "set_device": lambda device: described["chosen"].append(device),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    return described


@pytest.mark.parametrize("name", ["cpu", "cpu:0", torch.device("cpu")])
def test_a_cpu_has_no_number(name: torch.device | str) -> None:
    """However the CPU is named, the device is that of its tensors."""
    assert resolve_device(name) == torch.empty(1).device


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("name", [None, "cuda", torch.device("cuda"), "cuda:1"])
def test_a_gpu_always_has_its_number(name: torch.device | str | None) -> None:
    """`cuda` is the current GPU, with its number: without one it compares unequal to the device of its own tensors."""
    assert resolve_device(name) == torch.device("cuda", 1)
    assert torch.device("cuda") != torch.device("cuda", 1)


def test_without_a_gpu_the_default_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """None means the best there is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device() == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"device cuda: torch .* finds no GPU here; use device=cpu"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["foo", "gpu", "cuda:x", "cuda:-1", "meta", "mps", "cpu:cuda"])
def test_other_names_are_refused(name: str) -> None:
    """What is neither a CPU nor a GPU is refused with its name and the names there are."""
    with pytest.raises(DeviceError, match=f"device {name!r} is not known: choose cpu, cuda or cuda:N"):
        resolve_device(name)


@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_is_not_there() -> None:
    """A number beyond the last GPU is refused with the last one."""
    with pytest.raises(DeviceError, match=r"device cuda:2: the last GPU here is cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("capability", "built", "usable"),
    [
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 6), ["sm_75", "sm_80"], True),  # kernels run on later GPUs of one generation
        ((9, 0), ["sm_75", "compute_80"], True),  # and intermediate code on all later ones
        ((9, 0), ["sm_90a"], True),
        ((10, 0), ["sm_90", "sm_100"], True),
        ((6, 0), ["sm_70", "sm_75", "compute_75"], False),
        ((8, 6), ["sm_89", "sm_90"], False),
        ((9, 0), ["gfx90a"], True),  # nothing is known of other vendors' names
        ((7, 5), [], True),
    ],
)
def test_a_gpu_without_kernels(gpus: dict, capability: tuple[int, int], built: list[str], usable: bool) -> None:
    """A GPU for which this torch was not built is refused at once, not by its first tensor."""
    gpus |= {"capability": capability, "built": built}
    if usable:
        assert resolve_device("cuda:0") == torch.device("cuda", 0)
    else:
        with pytest.raises(DeviceError, match=rf"not for sm_{capability[0]}{capability[1]} \(Tesla Q\); use device"):
            resolve_device("cuda:0")


def test_selected_is_current(gpus: dict) -> None:
    """The device of a worker becomes its process's current GPU; on a CPU there is none to choose."""
    assert select_device("cuda:0") == torch.device("cuda", 0)
    select_device("cpu")
    assert gpus["chosen"] == [torch.device("cuda", 0)]


@pytest.mark.parametrize("device", ["cuda", "foo"])
def test_the_command_says_it_in_one_line(
    device: str, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lobtuna work --device` with a device that is not there ends with exit 1 and one line, no traceback."""
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    url = f"sqlite:///{tmp_path / 'x.db'}"
    create(url, small_study())
    command = ["work", "small", "--storage", url, "--data", str(small_data)]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--device", device])
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lobtuna: device ")


def test_float32_arithmetic_is_put_back() -> None:
    """TF32 is off inside, and as before afterwards, also after an error."""
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), float32_arithmetic():
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand more"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: 12 bytes"),
    ],
)
def test_every_lack_of_memory_is_one_error(error: RuntimeError) -> None:
    """Whatever library ran out of memory, it is told in one line, and what the failed frames held is free at once."""
    held = []

    def fail() -> None:
        large = torch.empty(3)
        held.append(weakref.ref(large))
        raise error

    with pytest.raises(DeviceMemoryError, match=r"^out of memory on cuda:0: ") as found, memory_errors("cuda:0"):
        fail()
    assert "\n" not in str(found.value)
    assert held[0]() is None


def test_other_errors_stay_what_they_are() -> None:
    """A bug is not mistaken for a full device."""
    with pytest.raises(RuntimeError, match="sizes differ"), memory_errors(torch.device("cpu")):
        raise RuntimeError("sizes differ")
