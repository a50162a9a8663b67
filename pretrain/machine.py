"""The device: its name, its precision, its speed on paper, and torch's process-wide switches while a command runs."""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch

from curate.errors import UsageError

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Dense bfloat16 (or, before Ampere, float16) operations a second, from NVIDIA's data sheets. The first name that is
# part of the device's own is taken.
_PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def find_device(name: DeviceName) -> torch.device:
    """The device of that name; auto takes the GPU where there is one.

    Raises:
        UsageError: if it is cuda and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU; take --device cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def dtype_of(device: torch.device, precision: Precision) -> torch.dtype:
    """Of matrix products; auto: bfloat16 on a GPU, float32 on the CPU. Weights and sums are float32 in any case."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[precision]


def mixed(device: torch.device, precision: Precision = "auto") -> torch.autocast:
    """Matrix products in the dtype of `dtype_of`."""
    dtype = dtype_of(device, precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def peak(device: torch.device) -> float | None:
    """The device's floating-point operations a second with half-width matrices, on paper; None: not known, as of CPUs,
    where it hangs on clock and instruction set.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


@contextlib.contextmanager
def switches(device: torch.device, threads: int | None) -> Iterator[None]:
    """That many CPU threads (None: as they are); on the CPU an operation that is not deterministic is an error.

    What was set before is restored.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    checks: Any = torch.utils.deterministic
    filled = checks.fill_uninitialized_memory
    torch.set_num_threads(threads or before[0])
    torch.use_deterministic_algorithms(before[1] or device.type == "cpu")
    # Of use to find reads of memory that was never written; here it only costs time.
    checks.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        checks.fill_uninitialized_memory = filled
